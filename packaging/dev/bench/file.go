package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

// phonesOfFile prints what the phones of the configuration file cost, with every part that needs no exchange: memory, a
// scrape, and an apply that changes each phone's file.
func (b *runner) phonesOfFile(ctx context.Context) error {
	return b.with(ctx, chosen(ours)[0], 0, func(ctx context.Context, s *site, up started) error {
		daemon := up.processes[0]
		own, err := statusKB(daemon, "RssAnon")
		if err != nil {
			return err
		}
		fmt.Printf("  %d phones: %.1f MB of its own, %v of the processors until the first offer\n", len(s.fleet), float64(own)/1000, processorTime(daemon).Round(time.Millisecond))
		if _, err := s.scrape(); err != nil { // the first one makes what the others use again
			return err
		}
		before := processorTime(daemon)
		text, err := s.scrape()
		if err != nil {
			return err
		}
		series := 0
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "#") {
				series++
			}
		}
		fmt.Printf("  a scrape: %d series, %.0f kB, %v of the processors\n", series, float64(len(text))/1000, (processorTime(daemon) - before).Round(time.Millisecond))
		return s.applyLanguage(ctx, daemon)
	})
}

// applyLanguage applies another language, which is in the file of each phone.
func (s *site) applyLanguage(ctx context.Context, daemon *lab.Process) error {
	file := filepath.Join(s.dir, "config.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	other := strings.Replace(string(text), "language: English", "language: French", 1)
	if err := os.WriteFile(file, []byte(other), 0o644); err != nil {
		return err
	}
	before, began := processorTime(daemon), time.Now()
	apply := s.command(ctx, "apply")
	if out, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("apply: %w: %s", err, out)
	}
	s.noteClients(apply)
	fmt.Printf("  an apply: %v, %v of the processors by the daemon, %v by the command\n", time.Since(began).Round(time.Millisecond),
		(processorTime(daemon) - before).Round(time.Millisecond), s.clientsTime.Round(time.Millisecond))
	return nil
}

// scrape asks the daemon for its metrics, as Prometheus does but for the compression.
func (s *site) scrape() (text string, err error) {
	err = s.server.Do(func() error {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:9303", startTimeout)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9303\r\nConnection: close\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		text = string(body)
		return err
	})
	return text, err
}
