package control

import "net/http"

// TestAlerts sends a test message to everybody who is told of problems.
var TestAlerts = Operation[None, []AlertDelivery]{
	ID: "testAlerts", Method: http.MethodPost, Path: "/alerts/test", Role: Operator, Order: "test alerts",
	Summary: "Send a test message to everybody who is told of problems",
}

func alertOperations() []Declaration { return []Declaration{TestAlerts} }

// AlertDelivery is how a message to one place ended.
type AlertDelivery struct {
	Target string `json:"target"` // mail and an address, or webhook
	Error  string `json:"error,omitempty"`
}
