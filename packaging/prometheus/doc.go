// Package prometheus is what the product ships for Prometheus: how to scrape it, and
// rules. There is no code here but the tests: of the rules with promtool, and of
// every expression of rules and dashboards with a real Prometheus that scrapes a
// real agent.
package prometheus
