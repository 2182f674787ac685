package config

// Least and most that can be shaped, in bits per second.
const (
	leastUpload = 64_000
	mostUpload  = 34_000_000_000
)

func (v *checker) qos() {
	u, path := v.QoS.WANUpload, "qos.wan_upload"
	if !v.ok(path) || u == 0 {
		return
	}
	switch {
	case u < leastUpload:
		v.fail(path, "one call needs about 100kbit", "%s is not enough for a call", u)
	case u > mostUpload:
		v.fail(path, "write the line's own upload, a little less", "%s is more than can be shaped", u)
	case v.ok("wan.method") && v.WAN.Method == WANNone:
		v.fail(path, "remove it", "there is no WAN (%s) whose upload could be shaped", v.line("wan.method"))
	}
}
