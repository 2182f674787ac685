package console

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sae-agent/sae-agent/agent/console/account"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/events"
)

const (
	// perPage is how many lines of a list a page has: a browser draws more of them only after a moment.
	perPage = 25
	// maxEvents is how many events there are to leaf through.
	maxEvents = 300
)

// asker asks for one page's data.
type asker struct {
	s   *Server
	r   *http.Request
	who visit
}

func get[Req, Resp any](a asker, o control.Operation[Req, Resp], req Req) (Resp, error) {
	return control.Ask(a.r.Context(), a.s.src.Dispatcher, a.who.caller, o, req)
}

// page is one page: its template has the name.
type page struct {
	path, name, title string
	role              control.Role
	data              func(asker) (any, error)
}

// allPages in the order of the navigation; those without a title are not in it.
var allPages = []page{
	{"/{$}", "overview", "Overview", control.Viewer, overview},
	{"/phones", "phones", "Phones", control.Viewer, phones},
	{"/phones/{mac}", "phone", "", control.Viewer, phone},
	{"/calls", "calls", "Calls", control.Viewer, phoneCalls},
	{"/extensions", "extensions", "Extensions", control.Viewer, extensions},
	{"/network", "network", "Network", control.Viewer, network},
	{"/firewall", "firewall", "Firewall", control.Viewer, firewall},
	{"/stacks", "stacks", "Stacks", control.Viewer, stacks},
	{"/configuration", "configuration", "Configuration", control.Viewer, configuration},
	{"/backups", "backups", "Backups", control.Viewer, backups},
	{"/logs", "logs", "Logs", control.Viewer, logs},
	{"/settings", "settings", "Settings", control.Viewer, settings},
	{"/api", "api", "", control.Viewer, api},
}

func (s *Server) pageRoutes(mux *http.ServeMux) {
	for _, p := range allPages {
		mux.HandleFunc("GET "+p.path, s.member(func(w http.ResponseWriter, r *http.Request, v visit) {
			if !v.caller.Role.May(p.role) {
				s.showError(w, r, v, &control.Error{Code: http.StatusForbidden, Message: "this page is for the role " + string(p.role)})
				return
			}
			data, err := p.data(asker{s, r, v})
			if err != nil {
				s.showError(w, r, v, err)
				return
			}
			s.render(w, r, p.name, v, http.StatusOK, data)
		}))
	}
}

func overview(a asker) (any, error) { return share(a, control.GetStatus) }

// phoneList is one page of phones.
type phoneList struct {
	listing
	State  string
	States []stateCount
	Phones []*control.Phone
	Free   []control.ExtensionStatus // extensions that no phone has
}

// PageLink is the address of another part of the list.
func (l phoneList) PageLink(n int) string { return l.link(n, url.Values{"state": {l.State}}) }

type stateCount struct {
	State string
	Count int
}

// urgency orders phones for people: those that somebody should look at first.
func urgency(p *control.Phone) int {
	switch {
	case p.Alert != "":
		return 0
	case p.Source == "unknown":
		return 1
	case p.Trouble != "":
		return 2
	}
	return 3
}

func phones(a asker) (any, error) {
	all, err := share(a, control.ListPhones)
	if err != nil {
		return nil, err
	}
	q := a.r.URL.Query()
	out := phoneList{listing: listingOf(a), State: q.Get("state")}
	counts := make(map[string]int)
	for i := range all {
		p := &all[i] // a thousand are not copied
		counts[p.State]++
		if (out.State == "" || p.State == out.State) && matches(out.Query, p.MAC, p.Model, p.Extension, p.Name, p.Address, p.State) {
			out.Phones = append(out.Phones, p)
		}
	}
	for state, n := range counts {
		out.States = append(out.States, stateCount{state, n})
	}
	slices.SortFunc(out.States, func(x, y stateCount) int { return strings.Compare(x.State, y.State) })
	slices.SortStableFunc(out.Phones, func(x, y *control.Phone) int { return urgency(x) - urgency(y) })
	out.Phones = cut(&out.listing, len(all), out.Phones)
	if slices.ContainsFunc(out.Phones, func(p *control.Phone) bool { return p.Source == "unknown" }) { // which may be given one
		out.Free = freeExtensions(a, all)
	}
	return out, nil
}

// callsPage is the calls that go on, and those that have ended.
type callsPage struct {
	control.Calls
	Away string
}

func phoneCalls(a asker) (any, error) {
	var out callsPage
	var err error
	if out.Calls, err = get(a, control.ListCalls, control.None{}); err != nil {
		out.Away = err.Error()
	}
	return out, nil
}

// freeExtensions lists extensions without a phone. Without an exchange there are none to tell.
func freeExtensions(a asker, all []control.Phone) (out []control.ExtensionStatus) {
	taken := make(map[string]bool)
	for _, p := range all {
		taken[p.Extension] = true
	}
	list, _ := share(a, control.ListExtensions)
	for _, e := range list {
		if !taken[e.Number] {
			out = append(out, e)
		}
	}
	return out
}

// matches reports whether any of the texts has a part.
func matches(part string, texts ...string) bool {
	if part == "" {
		return true
	}
	part = strings.ToLower(part)
	return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(strings.ToLower(s), part) })
}

// listing is the part of a list that a page shows: one of the parts of what the reader looks for in all of it.
type listing struct {
	path        string
	Query       string
	All, Found  int
	Page, Pages int
}

// listingOf is what a reader asks for.
func listingOf(a asker) listing {
	q := a.r.URL.Query()
	page, _ := strconv.Atoi(q.Get("page"))
	return listing{path: a.r.URL.Path, Query: strings.TrimSpace(q.Get("q")), Page: page}
}

// link is the address of another part, with what else was asked for.
func (l listing) link(page int, asked url.Values) string {
	asked.Set("q", l.Query)
	asked.Set("page", strconv.Itoa(page))
	return l.path + "?" + asked.Encode()
}

// PageLink is the address of another part of the list.
func (l listing) PageLink(page int) string { return l.link(page, url.Values{}) }

// cut returns the part that is asked for of what was found among all.
func cut[T any](l *listing, all int, found []T) []T {
	l.All, l.Found = all, len(found)
	l.Pages = max(1, (len(found)+perPage-1)/perPage)
	l.Page = min(max(l.Page, 1), l.Pages)
	return found[(l.Page-1)*perPage : min(l.Page*perPage, len(found))]
}

// phonePage is one phone with its story.
type phonePage struct {
	control.Phone
	listing
	Story []events.Event
	Free  []control.ExtensionStatus
}

func phone(a asker) (any, error) {
	p, err := get(a, control.GetPhone, control.PhoneRequest{MAC: a.r.PathValue("mac")})
	if err != nil {
		return nil, err
	}
	out := phonePage{Phone: p, listing: listingOf(a)}
	if p.Source == "unknown" {
		if all, err := share(a, control.ListPhones); err == nil {
			out.Free = freeExtensions(a, all)
		}
	}
	story, err := a.events(control.LogsRequest{MAC: p.MAC, Extension: p.Extension}, "")
	out.Story = cut(&out.listing, len(story), story)
	return out, err
}

// events returns the newest events first.
func (a asker) events(l control.LogsRequest, part string) ([]events.Event, error) {
	if part == "" {
		l.Last = maxEvents
	}
	var out []events.Event
	err := control.AskStream(a.r.Context(), a.s.src.Dispatcher, a.who.caller, control.ReadLogs, l, func(e events.Event) error {
		if part != "" && !matches(part, textOf(e)) {
			return nil
		}
		if len(out) >= 2*maxEvents { // only the newest are shown
			out = slices.Delete(out, 0, maxEvents)
		}
		out = append(out, e)
		return nil
	})
	slices.Reverse(out)
	return out[:min(len(out), maxEvents)], err
}

func textOf(e events.Event) string {
	words := []string{e.Part, e.Message}
	for _, f := range e.Fields {
		words = append(words, f.Key+"="+f.Value)
	}
	return strings.Join(words, " ")
}

// telephony is the exchange and its extensions. Either may be away.
type telephony struct {
	Exchange   *control.PBXStatus
	Extensions []*control.ExtensionStatus
	Groups     []control.RingGroup
	Away       string
	listing
}

func extensions(a asker) (any, error) {
	out := telephony{listing: listingOf(a)}
	var all []control.ExtensionStatus
	st, err := get(a, control.GetPBX, control.None{})
	if err == nil {
		slices.Reverse(st.Story)
		out.Exchange = &st
		all, err = share(a, control.ListExtensions)
	}
	if err != nil {
		out.Away = err.Error()
	}
	for i := range all {
		e := &all[i]
		if matches(out.Query, e.Number, e.Name) || matches(out.Query, e.Phones...) {
			out.Extensions = append(out.Extensions, e)
		}
	}
	out.Extensions = cut(&out.listing, len(all), out.Extensions)
	groups, _ := get(a, control.ListGroups, control.None{}) // the exchange's part is away, which is said already
	for _, g := range groups {
		words := []string{g.Number, g.Name}
		for _, m := range g.Members {
			words = append(words, m.Number, m.Name)
		}
		if matches(out.Query, words...) {
			out.Groups = append(out.Groups, g)
		}
	}
	return out, nil
}

// networkPage is cards and addresses.
type networkPage struct {
	control.Status
	listing
	Leases []*control.Lease
	Away   string
}

func network(a asker) (any, error) {
	st, err := share(a, control.GetStatus)
	if err != nil {
		return nil, err
	}
	out := networkPage{Status: st, listing: listingOf(a)}
	all, err := share(a, control.ListLeases)
	if err != nil {
		out.Away = err.Error()
	}
	for i := range all {
		l := &all[i]
		if matches(out.Query, l.Address, l.MAC, l.Hostname, l.Class, l.State) {
			out.Leases = append(out.Leases, l)
		}
	}
	out.Leases = cut(&out.listing, len(all), out.Leases)
	return out, nil
}

// firewallPage is rules and bans.
type firewallPage struct {
	Firewall *control.Firewall
	Bans     []control.Ban
	Away     string
	Question control.FirewallQuestion
	Answer   *control.FirewallAnswer
	Wrong    string
}

func firewall(a asker) (any, error) {
	var out firewallPage
	fw, err := get(a, control.GetFirewall, control.None{})
	if err == nil {
		out.Firewall = &fw
		out.Bans, err = get(a, control.ListBans, control.None{})
	}
	if err != nil {
		out.Away = err.Error()
	}
	q := a.r.URL.Query()
	out.Question = control.FirewallQuestion{From: q.Get("from"), To: "local", Protocol: q.Get("protocol")}
	if out.Question.From == "" {
		out.Question.From, out.Question.Protocol = "wan", "tcp"
		return out, nil
	}
	port, err := strconv.ParseUint(q.Get("port"), 10, 16)
	if err != nil && out.Question.Protocol != "icmp" {
		out.Wrong = "a port is a number from 1 to 65535"
		return out, nil
	}
	out.Question.Port = uint16(port)
	answer, err := get(a, control.TestFirewall, out.Question)
	if err != nil {
		out.Wrong = err.Error()
		return out, nil
	}
	out.Answer = &answer
	return out, nil
}

// stacksPage is the stacks and their updates.
type stacksPage struct {
	Stacks  []control.Stack
	Updates []control.StackUpdate
	Away    string
}

func stacks(a asker) (any, error) {
	var out stacksPage
	var err error
	if out.Stacks, err = get(a, control.ListStacks, control.None{}); err == nil {
		out.Updates, err = get(a, control.ListStackUpdates, control.None{})
		slices.Reverse(out.Updates)
	}
	if err != nil {
		out.Away = err.Error()
	}
	return out, nil
}

func backups(a asker) (any, error) { return get(a, control.GetBackupPlan, control.None{}) }

// logsPage is what has happened.
type logsPage struct {
	listing
	Part   string
	Parts  []string
	Events []events.Event
}

// PageLink is the address of another part of the list.
func (l logsPage) PageLink(n int) string { return l.link(n, url.Values{"part": {l.Part}}) }

func logs(a asker) (any, error) {
	out := logsPage{listing: listingOf(a), Part: a.r.URL.Query().Get("part")}
	st, err := share(a, control.GetStatus)
	if err != nil {
		return nil, err
	}
	for _, p := range st.Parts {
		out.Parts = append(out.Parts, p.Name)
	}
	all, err := a.events(control.LogsRequest{Part: out.Part}, out.Query)
	out.Events = cut(&out.listing, len(all), all)
	return out, err
}

// settingsPage is who may do what, and who has done what.
type settingsPage struct {
	Console   control.ConsoleStatus
	Authority bool            // there is one of ours to trust
	Access    *control.Access // only for those who may see it
	Orders    []control.Order
	Roles     []control.Role
	// SecondFactor says that this account asks for codes.
	SecondFactor bool
	Passkeys     []account.Passkey
	PasskeysHere bool // can work
}

func settings(a asker) (any, error) {
	out := settingsPage{Console: a.s.Where(), Roles: []control.Role{control.Viewer, control.Operator, control.Admin}}
	if me, ok := a.s.src.Accounts.Get(a.who.caller.Name); ok {
		out.SecondFactor, out.Passkeys = me.SecondFactor, me.Passkeys
	}
	_, out.PasskeysHere = a.s.passkeyPlace(a.r)
	_, err := get(a, control.GetAuthority, control.None{})
	out.Authority = err == nil
	if a.who.caller.Role.May(control.ListAccess.Role) {
		access, err := get(a, control.ListAccess, control.None{})
		if err != nil {
			return nil, err
		}
		out.Access = &access
	}
	if a.who.caller.Role.May(control.ListOrders.Role) {
		orders, err := get(a, control.ListOrders, control.None{})
		if err != nil {
			return nil, err
		}
		out.Orders = orders
	}
	return out, nil
}

// api is what the API can do.
func api(asker) (any, error) {
	var out []control.Info
	for _, d := range control.Operations() {
		out = append(out, d.Info())
	}
	return out, nil
}

// APIPrefix is where the API is.
func (view) APIPrefix() string { return apiPrefix }

// Protocols are those that the firewall can be asked about.
func (view) Protocols() []string { return []string{"tcp", "udp", "icmp"} }
