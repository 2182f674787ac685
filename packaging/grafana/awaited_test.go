package grafana

// awaited are metrics of parts that this version does not have yet.
var awaited = map[string]bool{
	"sae_pbx_up": true, "sae_pbx_registered": true, "sae_pbx_calls": true,
	"sae_extension_registered": true, "sae_extension_rtt_seconds": true, "sae_sip_auth_failures_total": true,
	"sae_firewall_packets_total": true, "sae_bans": true, "sae_bans_total": true,
	"sae_stack_healthy": true, "sae_stack_service_up": true, "sae_stack_update_available": true,
	"sae_backup_last_success_timestamp_seconds": true, "sae_verify_success": true, "sae_unit_active": true,
}
