package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/bench/dhcpload"
)

const (
	maxDropped = 2.5 // per cent of either kind of answer
	minRate    = 10  // exchanges per second
	maxTries   = 10
)

// perfdhcp returns the highest rate at which the server answers all but 2.5 % within
// a second, to a tenth. It starts at the rate that our own generator found.
func (s *site) perfdhcp(ctx context.Context, guess float64, d time.Duration) (float64, error) {
	var best, low, high float64 // exchanges seen; rates that passed and failed
	for rate, try := max(guess, minRate), 0; try < maxTries && rate >= minRate; try++ {
		reached, dropped, err := s.perfdhcpAt(ctx, rate, d)
		switch {
		case err != nil:
			return 0, err
		case dropped > maxDropped:
			high = rate
		case reached < 0.9*rate: // the generator is at its own limit
			return max(best, reached), nil
		default:
			best, low = max(best, reached), rate
		}
		switch {
		case high == 0:
			rate = low * 1.25
		case low == 0:
			rate = high / 1.5
		case high < 1.1*low:
			return best, nil
		default:
			rate = math.Sqrt(low * high)
		}
	}
	if best == 0 {
		return 0, errors.New("drops too many answers at every rate tried")
	}
	return best, nil
}

// perfdhcpAt runs once and returns complete exchanges per second and the share of
// answers that did not come.
func (s *site) perfdhcpAt(ctx context.Context, rate float64, d time.Duration) (reached, dropped float64, err error) {
	out, err := s.phones.Command(ctx, "perfdhcp", "-4", "-l", phoneLink,
		"-r", strconv.Itoa(int(rate)), "-R", strconv.Itoa(s.leases), "-b", "mac="+dhcpload.MAC(0).String(), "-o", "60,"+hex.EncodeToString([]byte("yealink")),
		"-p", strconv.Itoa(int(d.Seconds())), "-W", "1000000").CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != incomplete) {
		return 0, 0, fmt.Errorf("%w: %s", err, out)
	}
	offers, errOffers := parsePerfdhcp(string(out), "DISCOVER-OFFER")
	acks, errAcks := parsePerfdhcp(string(out), "REQUEST-ACK")
	if err := errors.Join(errOffers, errAcks); err != nil {
		return 0, 0, err
	}
	return acks.received / d.Seconds(), max(offers.dropped(), acks.dropped()), nil
}

// incomplete is perfdhcp's exit status when some exchanges were not complete.
const incomplete = 3

type perfStats struct{ sent, received float64 }

func (p perfStats) dropped() float64 {
	if p.sent == 0 {
		return 100
	}
	return 100 * (p.sent - p.received) / p.sent
}

var perfSection = regexp.MustCompile(`(?s)\*\*\*Statistics for: (\S+)\*\*\*\s+sent packets: (\d+)\s+received packets: (\d+)`)

func parsePerfdhcp(out, section string) (perfStats, error) {
	for _, m := range perfSection.FindAllStringSubmatch(out, -1) {
		if m[1] != section {
			continue
		}
		sent, errSent := strconv.ParseFloat(m[2], 64)
		received, errReceived := strconv.ParseFloat(m[3], 64)
		return perfStats{sent, received}, errors.Join(errSent, errReceived)
	}
	return perfStats{}, fmt.Errorf("no statistics for %s: %s", section, out)
}
