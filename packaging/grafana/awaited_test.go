package grafana

// awaited are metrics of parts that this version does not have yet.
var awaited = map[string]bool{
	"sae_stack_state": true, "sae_stack_problem": true, "sae_stack_service_up": true, "sae_stack_repairs_total": true, "sae_stack_updates": true,
	"sae_stack_update_available": true,
}
