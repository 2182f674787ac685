package grafana

// awaited are metrics of parts that this version does not have yet.
var awaited = map[string]bool{
	"sae_pbx_up": true, "sae_pbx_sip_up": true, "sae_pbx_in_line": true, "sae_pbx_registered": true, "sae_pbx_calls": true, "sae_pbx_restarts_total": true,
	"sae_extension_registered": true, "sae_extension_rtt_seconds": true, "sae_sip_auth_failures_total": true,
	"sae_stack_state": true, "sae_stack_problem": true, "sae_stack_service_up": true, "sae_stack_repairs_total": true, "sae_stack_updates": true,
	"sae_stack_update_available": true,
}
