package control

// QoSStatus is how the WAN's upload is shaped.
type QoSStatus struct {
	Link          string `json:"link,omitempty"`
	BitsPerSecond uint64 `json:"bits_per_second"` // asked for; 0: nothing is shaped
	Discipline    string `json:"discipline"`      // cake, htb or none
	Repairs       uint64 `json:"repairs"`         // times that our queues were put back
	Error         string `json:"error,omitempty"` // why it is not shaped
}
