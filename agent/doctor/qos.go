package doctor

import "github.com/sae-agent/sae-agent/agent/problem"

// checkUpload judges whether the upload is shaped as the file says.
func checkUpload(f Facts) []problem.Problem {
	if f.Daemon == nil || f.Daemon.QoS.Error == "" {
		return nil
	}
	return []problem.Problem{doubtful("do as it says, or remove qos.wan_upload: calls may wait behind other packets until then",
		"the upload is not shaped: %s", f.Daemon.QoS.Error)}
}
