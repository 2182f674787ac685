package stacks

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	descState     = prometheus.NewDesc("sae_stack_state", "1 for the state that the stack is in, 0 for the others.", []string{"stack", "state"}, nil)
	descProblem   = prometheus.NewDesc("sae_stack_problem", "1 for the cause for which the stack is not as it should be.", []string{"stack", "cause"}, nil)
	descHealthy   = prometheus.NewDesc("sae_stack_healthy", "1 while all services of the stack are up; absent when the stack is off.", []string{"stack"}, nil)
	descInfo      = prometheus.NewDesc("sae_stack_service_info", "What the service runs; the value is always 1.", []string{"stack", "service", "image", "version"}, nil)
	descServiceUp = prometheus.NewDesc("sae_stack_service_up", "1 while the service runs and its check says nothing against it.", []string{"stack", "service"}, nil)
	descRepairs   = prometheus.NewDesc("sae_stack_repairs_total", "Times that the stack was brought back because something of it had died.", []string{"stack"}, nil)
	descUpdates   = prometheus.NewDesc("sae_stack_updates", "Updates in the history, by outcome.", []string{"stack", "outcome"}, nil)
	descAvailable = prometheus.NewDesc("sae_stack_update_available", "1 if newer images were found when it was last looked.", []string{"stack"}, nil)
)

// Describe implements prometheus.Collector.
func (s *Service) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descState, descHealthy, descInfo, descProblem, descServiceUp, descRepairs, descUpdates, descAvailable} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Service) Collect(ch chan<- prometheus.Metric) {
	flag := map[bool]float64{true: 1}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	history := s.History()
	for _, st := range s.Status() {
		for _, x := range states {
			gauge(descState, flag[st.State == x], st.Name, string(x))
		}
		for _, c := range codes {
			gauge(descProblem, flag[st.Problem != nil && st.Problem.Code == c], st.Name, string(c))
		}
		if st.State != Off {
			gauge(descHealthy, flag[st.State == Healthy], st.Name)
		}
		for _, v := range st.Services {
			gauge(descServiceUp, flag[v.Up], st.Name, v.Name)
			gauge(descInfo, 1, st.Name, v.Name, v.Image.Repository, v.Image.Tag)
		}
		ch <- prometheus.MustNewConstMetric(descRepairs, prometheus.CounterValue, float64(st.Repairs), st.Name)
		count := make(map[Outcome]float64)
		for _, r := range history {
			if r.Stack == st.Name {
				count[r.Outcome]++
			}
		}
		for _, o := range []Outcome{Updated, RolledBack, Abandoned, Broken} {
			gauge(descUpdates, count[o], st.Name, string(o))
		}
		gauge(descAvailable, flag[len(st.Available) > 0], st.Name)
	}
}
