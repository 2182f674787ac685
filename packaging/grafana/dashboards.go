package grafana

// All returns the dashboards.
func All() []Dashboard { return []Dashboard{overview(), phones(), telephony(), network(), stacks()} }

func section(title string) Panel { return Panel{Title: title, Kind: "row"} }

// stat is a number in a coloured box.
func stat(title, about, unit, expr string, steps []Step, words map[string]string, needs Needs) Panel {
	return Panel{
		Title: title, About: about, Kind: "stat", Unit: unit, Width: 4, Height: 4, Queries: one(expr, ""), Steps: steps, Words: words, Needs: needs,
	}
}

// graph is a picture over time.
func graph(title, about, unit string, needs Needs, queries ...Query) Panel {
	return Panel{Title: title, About: about, Kind: "timeseries", Unit: unit, Width: 12, Height: 8, Queries: queries, Needs: needs}
}

// signed is a picture whose values may be below zero.
func signed(p Panel) Panel {
	p.Signed = true
	return p
}

// list is a table.
func list(title, about, unit, expr string, needs Needs, hide ...string) Panel {
	return Panel{Title: title, About: about, Kind: "table", Unit: unit, Width: 12, Height: 8, Queries: one(expr, ""), Needs: needs, Hide: hide}
}

// history shows for each series when it was what.
func history(title, about, expr, legend string, words map[string]string, needs Needs) Panel {
	return Panel{
		Title: title, About: about, Kind: "state-timeline", Unit: "none", Width: 12, Height: 8, Queries: one(expr, legend), Steps: goodIsOne, Words: words, Needs: needs,
	}
}

var (
	upDown = map[string]string{"0": "down", "1": "up"}
	yesNo  = map[string]string{"0": "no", "1": "yes"}
)

func overview() Dashboard {
	return Dashboard{UID: "sae-overview", Title: "sae-agent / Overview", About: "Is everything fine? At one glance.", Panels: []Panel{
		section("Is everything fine?"),
		stat("Agent", "Whether Prometheus reaches the appliance.", "none", `min(up{$i} and on (job, instance) last_over_time(sae_agent_info{$i}[1w]))`, goodIsOne, upDown, Always),
		stat("Errors", "What does not work; sae-agent status says it in words, with its fix.", "none", `sum(sae_problems{$i,severity="error"})`, goodIsZero, nil, Always),
		stat("Warnings", "What works, and somebody should look at.", "none", `sum(sae_problems{$i,severity="warning"})`, oddIsOne, nil, Always),
		stat("Alerts", "Alerts of Prometheus that fire now.", "none", `count(ALERTS{$i,alertname=~"Sae.+",alertstate="firing"}) or vector(0)`, goodIsZero, nil, Always),
		stat("Configuration file", "Whether it could be applied.", "none", `min(sae_config_file_valid{$i})`, goodIsOne, map[string]string{"0": "has an error", "1": "valid"}, Always),
		stat("Applied", "Whether what runs is what the file says.", "none", `max(sae_config_file_differs{$i})`, oddIsOne, map[string]string{"0": "yes", "1": "file differs"}, Always),
		stat("Phones ready", "Named phones that have fetched their file, of all.", "percentunit", `sum(sae_phone_state{$i,state="provisioned"}) / sum(instance:sae_phones_named:count{$i}) or vector(0)`, []Step{{0, "red"}, {0.8, "orange"}, {1, "green"}}, nil, Always),
		stat("Addresses used", "Of the DHCP range.", "percentunit", `max(instance:sae_dhcp_pool_used:ratio{$i})`, []Step{{0, "green"}, {0.8, "orange"}, {0.9, "red"}}, nil, Always),
		stat("Exchange", "Whether the telephone exchange answers.", "none", `min(sae_pbx_up{$i})`, goodIsOne, upDown, PBX),
		stat("Calls", "Calls now.", "none", `sum(sae_pbx_calls{$i})`, []Step{{0, "blue"}}, nil, PBX),
		stat("Stacks", "Whether meetings and files are healthy.", "none", `min(sae_stack_healthy{$i})`, goodIsOne, map[string]string{"0": "unhealthy", "1": "healthy"}, Stacks),
		stat("Free disk", "Of the file system that holds the leases.", "percentunit", `min(instance:sae_state_disk_free:ratio{$i})`, []Step{{0, "red"}, {0.1, "orange"}, {0.2, "green"}}, nil, Always),
		section("What is wrong"),
		list("Alerts that fire", "Each has a runbook, see the link.", "none", `ALERTS{$i,alertname=~"Sae.+",alertstate="firing"}`, Trouble, "Value", "alertstate"),
		history("Parts", "When each part of the agent ran.", `sae_part_up{$i}`, "{{instance}} {{part}}", upDown, Always),
		section("Appliances"),
		list("Versions", "What runs where.", "none", `sae_agent_info{$i}`, Always, "Value"),
		list("Configurations", "The hash of the configuration that runs, as sae-agent status shows it.", "none", `sae_config_info{$i}`, Always, "Value"),
		graph("Phones", "By how far they are.", "none", Always, Query{`sum by (state) (sae_phones{$i})`, "{{state}}"}),
		graph("Uptime", "Since the agent was started.", "s", Always, Query{`time() - sae_agent_start_time_seconds{$i}`, "{{instance}}"}),
		section("The agent itself"),
		graph("Reconciling", "The time to look at a part and make it as the configuration says, 95 of 100.", "s", Always,
			Query{`histogram_quantile(0.95, sum by (part, le) (rate(sae_reconcile_seconds_bucket{$i}[$r])))`, "{{part}}"}),
		graph("Since the last success", "How long ago a part was found as the configuration says.", "s", Always,
			Query{`time() - sae_reconcile_last_success_timestamp_seconds{$i}`, "{{instance}} {{part}}"}),
		graph("Restarts and failures", "Parts that were started again, or could not be made as they should be.", "none", Always,
			Query{`sum by (part) (increase(sae_part_restarts_total{$i}[$r]))`, "{{part}} restarted"},
			Query{`sum by (part) (increase(sae_reconcile_failures_total{$i}[$r]))`, "{{part}} failed"}),
		graph("Scrapes", "How long each part took to answer Prometheus.", "s", Always,
			Query{`sae_scrape_collector_duration_seconds{$i}`, "{{instance}} {{collector}}"}),
		graph("Memory", "Resident memory of the agent.", "bytes", Always, Query{`process_resident_memory_bytes{$i} and on (job, instance) sae_agent_info{$i}`, "{{instance}}"}),
		graph("Processor", "Cores that the agent uses.", "none", Always, Query{`rate(process_cpu_seconds_total{$i}[$r]) and on (job, instance) sae_agent_info{$i}`, "{{instance}}"}),
	}}
}

func phones() Dashboard {
	return Dashboard{UID: "sae-phones", Title: "sae-agent / Phones", About: "How phones come up, and which need attention.", Panels: []Panel{
		section("How they come up"),
		{Title: "Boots in this time", About: "How many boots of named phones got how far, from the first DISCOVER on.", Kind: "bargauge", Unit: "none", Width: 12, Height: 8, Queries: []Query{
			{`sum(increase(sae_phone_boots_total{$i}[$__range]))`, "1 looked for an address"},
			{`sum(increase(sae_phone_boot_seconds_count{$i,stage="lease"}[$__range]))`, "2 got its lease"},
			{`sum(increase(sae_phone_boot_seconds_count{$i,stage="file"}[$__range]))`, "3 got its file"},
			{`sum(increase(sae_phone_boot_seconds_count{$i,stage="registered"}[$__range]))`, "4 registered"},
		}},
		graph("Boot time", "From the first DISCOVER until a phone has come so far, 95 of 100.", "s", Always,
			Query{`histogram_quantile(0.95, sum by (stage, le) (rate(sae_phone_boot_seconds_bucket{$i}[$r])))`, "{{stage}}"}),
		graph("Phones", "By how far they are.", "none", Always, Query{`sum by (state) (sae_phones{$i})`, "{{state}}"}),
		graph("Boots", "Phones that were switched on.", "none", Always, Query{`sum by (instance) (increase(sae_phone_boots_total{$i}[$r]))`, "{{instance}}"}),
		section("Which need attention"),
		list("Phones that need attention", "Named phones that were not seen or have not fetched their file, or that have an alert.", "none",
			`sae_phone_state{$i,state=~"absent|seen"} or on (instance, mac) (sae_phone_alert{$i} == 1)`, Trouble, "Value"),
		list("Without a registration", "Numbers of desk phones that cannot be called.", "none",
			`(sae_extension_registered{$i} == 0) * on (instance, extension) group_right sae_phone_info{$i}`, PBX, "Value"),
		list("Longest since their last file", "Seconds since a phone last fetched its file; each night is usual.", "s",
			`topk(20, time() - (sae_phone_last_fetch_timestamp_seconds{$i} > 0))`, Always),
		list("Longest since their last registration", "Seconds since the exchange was last heard to accept a phone.", "s",
			`topk(20, time() - (sae_phone_last_registration_timestamp_seconds{$i} > 0))`, PBX),
		section("Which there are"),
		{Title: "By model", About: "Named phones.", Kind: "bargauge", Unit: "none", Width: 8, Height: 8, Queries: one(`count by (model) (sae_phone_info{$i})`, "{{model}}")},
		{Title: "By model and firmware", About: "Named phones; the firmware is known of those that fetched their file over HTTP.", Kind: "bargauge", Unit: "none", Width: 8, Height: 8,
			Queries: one(`count by (model, firmware) (sae_phone_info{$i})`, "{{model}} {{firmware}}")},
		{Title: "By model, ready", About: "The share of a model's phones that have fetched their file.", Kind: "bargauge", Unit: "percentunit", Width: 8, Height: 8,
			Queries: one(`sum by (model) (sae_phone_info{$i} * on (instance, mac) group_left sum by (instance, mac) (sae_phone_state{$i,state="provisioned"} or sae_phone_state{$i} * 0)) / count by (model) (sae_phone_info{$i})`, "{{model}}")},
		section("Files"),
		graph("Files", "What phones asked for, and what became of it.", "reqps", Always, Query{`sum by (kind, outcome) (rate(sae_phone_files_total{$i}[$r]))`, "{{kind}} {{outcome}}"}),
		graph("Refused", "Phones' own files that were not given: somebody else asked.", "reqps", Always, Query{`sum by (reason) (rate(sae_phone_files_denied_total{$i}[$r]))`, "{{reason}}"}),
		graph("TFTP", "Requests that have ended.", "reqps", Always, Query{`sum by (kind, outcome) (rate(sae_tftp_requests_total{$i}[$r]))`, "{{kind}} {{outcome}}"}),
		graph("HTTP", "Requests that were answered.", "reqps", Always, Query{`sum by (kind, outcome) (rate(sae_http_requests_total{$i}[$r]))`, "{{kind}} {{outcome}}"}),
		graph("Bytes", "Sent to phones.", "Bps", Always,
			Query{`sum by (kind) (rate(sae_tftp_sent_bytes_total{$i}[$r]))`, "TFTP {{kind}}"}, Query{`sum by (kind) (rate(sae_http_sent_bytes_total{$i}[$r]))`, "HTTP {{kind}}"}),
		graph("Duration", "Of a file's transfer, 95 of 100.", "s", Always,
			Query{`histogram_quantile(0.95, sum by (le) (rate(sae_tftp_transfer_seconds_bucket{$i}[$r])))`, "TFTP"},
			Query{`histogram_quantile(0.95, sum by (kind, le) (rate(sae_http_request_seconds_bucket{$i}[$r])))`, "HTTP {{kind}}"}),
		graph("TFTP transfers", "Under way.", "none", Always, Query{`sae_tftp_transfers{$i}`, "{{instance}}"}),
		graph("Softphones and alerts", "Softphone links that were opened, and phones that did something odd.", "none", Always,
			Query{`sum by (outcome) (increase(sae_softphone_links_total{$i}[$r]))`, "link {{outcome}}"}, Query{`sum(increase(sae_phone_alerts_total{$i}[$r]))`, "alerts"}),
	}}
}

func telephony() Dashboard {
	return Dashboard{UID: "sae-telephony", Title: "sae-agent / Telephony", About: "The exchange, its extensions and its calls.", Panels: []Panel{
		section("The exchange"),
		stat("Exchange", "Whether its manager interface and SIP answer.", "none", `min(sae_pbx_up{$i} * sae_pbx_sip_up{$i})`, goodIsOne, upDown, PBX),
		stat("Registered", "Extensions that can be called now.", "none", `sum(sae_pbx_registered{$i})`, []Step{{0, "blue"}}, nil, PBX),
		stat("Not registered", "Extensions that cannot.", "none", `count(sae_extension_registered{$i} == 0) or vector(0)`, oddIsOne, nil, Always),
		stat("Calls", "Now.", "none", `sum(sae_pbx_calls{$i})`, []Step{{0, "blue"}}, nil, PBX),
		stat("Failed logins", "In the last hour.", "none", `sum(increase(sae_sip_auth_failures_total{$i}[1h]))`, []Step{{0, "green"}, {10, "orange"}, {100, "red"}}, nil, PBX),
		stat("Services down", "systemd's services that the appliance needs.", "none", `count(sae_unit_active{$i} == 0 and on (instance, unit) sae_unit_enabled{$i} == 1) or vector(0)`, goodIsZero, nil, Always),
		history("In line", "When the exchange had the extensions that it should have.", `sae_pbx_in_line{$i}`, "{{instance}}", yesNo, PBX),
		graph("Starts", "Times that the agent has started the exchange anew.", "none", PBX, Query{`sum by (outcome) (increase(sae_pbx_restarts_total{$i}[$r]))`, "{{outcome}}"}),
		graph("Calls", "Over time.", "none", PBX, Query{`sae_pbx_calls{$i}`, "{{instance}}"}),
		graph("Registered extensions", "Over time.", "none", PBX, Query{`sae_pbx_registered{$i}`, "{{instance}}"}),
		section("Extensions"),
		history("Registrations", "When each extension could be called.", `sae_extension_registered{$i}`, "{{extension}}", yesNo, PBX),
		graph("Round trip", "Between exchange and phone.", "s", PBX, Query{`sae_extension_rtt_seconds{$i}`, "{{extension}}"}),
		list("Not registered", "Extensions that cannot be called.", "none", `sae_extension_registered{$i} == 0`, Trouble, "Value"),
		graph("Failed logins", "By reason.", "none", PBX, Query{`sum by (reason) (increase(sae_sip_auth_failures_total{$i}[$r]))`, "{{reason}}"}),
		section("Checks and services"),
		list("Checks", "What sae-agent verify found: 1 works.", "none", `sae_verify_success{$i}`, Verify),
		history("Services", "When each service ran.", `sae_unit_active{$i}`, "{{unit}}", upDown, Units),
	}}
}

func network() Dashboard {
	return Dashboard{UID: "sae-network", Title: "sae-agent / Network and security", About: "Cards, addresses, packets and bans.", Panels: []Panel{
		section("Cards"),
		history("Addresses", "When each card had the address that it should have.", `sae_net_address_present{$i}`, "{{instance}} {{role}} {{link}}", yesNo, Always),
		history("Links", "When each card was up and had a carrier.", `sae_net_link_up{$i} * sae_net_link_carrier{$i}`, "{{instance}} {{role}} {{link}}", upDown, Always),
		graph("Repairs", "Settings of ours that somebody changed and that were put back, and pauses because of a fight.", "none", Always,
			Query{`sum by (link) (increase(sae_net_repairs_total{$i}[$r]))`, "{{link}} put back"}, Query{`sum(increase(sae_net_fights_total{$i}[$r]))`, "fights"}),
		graph("Changes", "Of addresses, routes and links.", "none", Always, Query{`sum by (kind, outcome) (increase(sae_net_changes_total{$i}[$r]))`, "{{kind}} {{outcome}}"}),
		signed(graph("WAN lease", "Time until it ends; below zero without one.", "s", Always, Query{`sae_net_wan_lease_expires_timestamp_seconds{$i} - time()`, "{{instance}}"})),
		graph("WAN DHCP client", "What happened to it.", "none", Always, Query{`sum by (event) (increase(sae_net_wan_dhcp_total{$i}[$r]))`, "{{event}}"}),
		section("DHCP"),
		stat("Serving", "Whether our DHCP server answers.", "none", `min(sae_dhcp_serving{$i})`, goodIsOne, yesNo, Always),
		stat("Other servers", "That answer on the LAN.", "none", `sum(sae_dhcp_rivals{$i})`, goodIsZero, nil, Always),
		stat("Addresses used", "Of the range.", "percentunit", `max(instance:sae_dhcp_pool_used:ratio{$i})`, []Step{{0, "green"}, {0.8, "orange"}, {0.9, "red"}}, nil, Always),
		stat("Free addresses", "That nobody has or had.", "none", `sum(sae_dhcp_pool_free_addresses{$i})`, []Step{{0, "blue"}}, nil, Always),
		stat("Conflicts", "Addresses found in use by another machine, in the last day.", "none", `sum(increase(sae_dhcp_conflicts_total{$i}[1d]))`, oddIsOne, nil, Always),
		stat("Store errors", "Leases that could not be stored, in the last hour.", "none", `sum(increase(sae_lease_store_errors_total{$i}[1h]))`, goodIsZero, nil, Always),
		graph("Messages", "In and out, by type.", "pps", Always,
			Query{`sum by (type) (rate(sae_dhcp_messages_received_total{$i}[$r]))`, "in {{type}}"}, Query{`sum by (type) (rate(sae_dhcp_messages_sent_total{$i}[$r]))`, "out {{type}}"}),
		graph("Without a reply", "By the reason for it.", "pps", Always,
			Query{`sum by (reason) (rate(sae_dhcp_dropped_total{$i}[$r]))`, "{{reason}}"}, Query{`sum(rate(sae_dhcp_send_errors_total{$i}[$r]))`, "the kernel refused"}),
		graph("Leases", "By state.", "none", Always, Query{`sum by (state) (sae_dhcp_leases{$i})`, "{{state}}"}),
		graph("Time to answer", "From reading a message to its reply, and to its lease being on disk, 99 of 100.", "s", Always,
			Query{`max by (type) (instance_type:sae_dhcp_reply_seconds:p99_5m{$i})`, "{{type}}"},
			Query{`histogram_quantile(0.99, sum by (le) (rate(sae_dhcp_durable_seconds_bucket{$i}[$r])))`, "on disk"}),
		graph("Lease file", "Time to write and sync one batch, 99 of 100.", "s", Always,
			Query{`histogram_quantile(0.99, sum by (le) (rate(sae_lease_store_commit_seconds_bucket{$i}[$r])))`, "commit"}),
		graph("Size of the lease file", "With expired leases.", "bytes", Always, Query{`sae_lease_store_size_bytes{$i}`, "{{instance}}"}),
		section("Firewall"),
		history("In force", "When our rules were.", `sae_firewall_active{$i}`, "{{instance}}", yesNo, Firewall),
		graph("Dropped", "Packets, by reason.", "pps", Firewall, Query{`sum by (reason) (rate(sae_firewall_dropped_packets_total{$i}[$r]))`, "{{reason}}"}),
		graph("Bans", "Addresses that are shut out now, and machines of the LAN that are slowed down.", "none", Firewall,
			Query{`sum by (jail) (sae_firewall_banned{$i})`, "{{jail}}"}, Query{`sum(sae_firewall_throttled{$i})`, "slowed down"}),
		graph("New bans", "By jail.", "none", Firewall, Query{`sum by (jail) (increase(sae_firewall_bans_total{$i}[$r]))`, "{{jail}}"}),
		graph("Loads and repairs", "Of the ruleset.", "none", Firewall,
			Query{`sum by (outcome) (increase(sae_firewall_loads_total{$i}[$r]))`, "{{outcome}}"}, Query{`sum(increase(sae_firewall_repairs_total{$i}[$r]))`, "put back"}),
		history("fail2ban's jails", "When each jail ran.", `sae_fail2ban_jail_up{$i}`, "{{jail}}", upDown, Fail2ban),
		graph("Refused by the agent", "Requests over TFTP and HTTP that were denied, or came from outside the LAN.", "reqps", Always,
			Query{`sum by (outcome) (rate(sae_tftp_requests_total{$i,outcome=~"denied|illegal|over_limit|from_outside"}[$r]))`, "TFTP {{outcome}}"},
			Query{`sum by (outcome) (rate(sae_http_requests_total{$i,outcome=~"denied|from_outside"}[$r]))`, "HTTP {{outcome}}"}),
		section("Upload"),
		graph("Sent", "By class, voice first.", "Bps", QoS, Query{`sum by (class) (rate(sae_qos_sent_bytes_total{$i}[$r]))`, "{{class}}"}),
		graph("Shaped to", "What the upload is held to.", "Bps", QoS, Query{`sae_qos_rate_bytes_per_second{$i}`, "{{link}}"}),
		graph("Waiting", "Bytes in the queues, by class.", "bytes", QoS, Query{`sum by (class) (sae_qos_backlog_bytes{$i})`, "{{class}}"}),
		graph("Dropped", "By class; voice should lose nothing.", "pps", QoS, Query{`sum by (class) (rate(sae_qos_dropped_packets_total{$i}[$r]))`, "{{class}}"}),
	}}
}

func stacks() Dashboard {
	return Dashboard{UID: "sae-stacks", Title: "sae-agent / Stacks", About: "Meetings and files: services, updates, backups.", Panels: []Panel{
		section("Are they well?"),
		{Title: "Healthy", About: "Whether all services of a stack are.", Kind: "stat", Unit: "none", Width: 8, Height: 4, Queries: one(`sae_stack_healthy{$i}`, "{{stack}}"), Steps: goodIsOne, Words: map[string]string{"0": "unhealthy", "1": "healthy"}, Needs: Stacks},
		{Title: "Updates", About: "Whether a newer version waits.", Kind: "stat", Unit: "none", Width: 8, Height: 4, Queries: one(`sae_stack_update_available{$i}`, "{{stack}}"), Steps: oddIsOne, Words: map[string]string{"0": "current", "1": "update waits"}, Needs: Stacks},
		{Title: "Last backup", About: "How long ago it succeeded.", Kind: "stat", Unit: "s", Width: 8, Height: 4, Queries: one(`time() - (sae_backup_last_success_timestamp_seconds{$i} > 0)`, "{{instance}}"), Steps: []Step{{0, "green"}, {90000, "orange"}, {172800, "red"}}, Needs: Backup},
		section("Services"),
		history("Services", "When each service was up.", `sae_stack_service_up{$i}`, "{{stack}} {{service}}", upDown, Stacks),
		list("Images", "What runs.", "none", `sae_stack_service_info{$i}`, Stacks, "Value"),
		list("Services that are down", "Now.", "none", `sae_stack_service_up{$i} == 0`, Trouble, "Value"),
		history("States", "What each stack was.", `sae_stack_state{$i} == 1`, "{{stack}} {{state}}", nil, Stacks),
		graph("Services up", "Over time.", "none", Stacks, Query{`sum by (stack) (sae_stack_service_up{$i})`, "{{stack}}"}),
		graph("Repairs and updates", "Times that a stack was brought back, and updates by outcome.", "none", Stacks,
			Query{`sum by (stack) (increase(sae_stack_repairs_total{$i}[$r]))`, "{{stack}} brought back"},
			Query{`sum by (stack, outcome) (sae_stack_updates{$i})`, "{{stack}} update {{outcome}}"}),
		list("Causes", "Why a stack is not as it should be.", "none", `sae_stack_problem{$i} == 1`, Trouble, "Value"),
		section("Backups"),
		graph("Size", "Of the newest backup.", "bytes", Always, Query{`sae_backup_size_bytes{$i}`, "{{instance}}"}),
		graph("Kept", "Backups that are kept.", "none", Always, Query{`sae_backup_archives{$i}`, "{{instance}}"}),
	}}
}
