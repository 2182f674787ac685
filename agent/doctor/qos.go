package doctor

import "github.com/sae-agent/sae-agent/agent/control"

// checkUpload judges whether the upload is shaped as the file says.
func checkUpload(f Facts) []control.Problem {
	if f.Daemon == nil || f.Daemon.QoS.Error == "" {
		return nil
	}
	return []control.Problem{doubtful("do as it says, or remove qos.wan_upload: calls may wait behind other packets until then",
		"the upload is not shaped: %s", f.Daemon.QoS.Error)}
}
