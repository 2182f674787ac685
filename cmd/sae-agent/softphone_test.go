package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// softphone is a SIP client that no one here wrote, on a machine of its own. It
// sends a tone in a call, and records what it hears.
type softphone struct {
	t        *testing.T
	process  *lab.Process
	commands io.Writer
	heard    string // file, or the pattern of its name
}

// baresip sets Debian's baresip up by hand.
func baresip(t *testing.T, h *labtest.Host, addr, number, secret string, hz float64) *softphone {
	t.Helper()
	dir := t.TempDir()
	s := &softphone{t: t, heard: filepath.Join(dir, "dump-*-dec.wav")}
	writeTone(t, filepath.Join(dir, "tone.wav"), hz)
	for name, content := range map[string]string{
		"accounts": fmt.Sprintf("<sip:%s@192.168.1.1>;auth_user=%s;auth_pass=%s;regint=300;answermode=auto\n", number, number, secret),
		"config": fmt.Sprintf(`sip_listen %[1]s:5060
module_path /usr/lib/baresip/modules
module stdio.so
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
snd_path %[2]s
audio_source aufile,%[2]s/tone.wav
audio_player aubridge,nobody
audio_alert aubridge,nobody
`, addr, dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.start(h, dir, "baresip", "-f", dir)
	s.wait("registered successfully")
	return s
}

// linphone lets Debian's linphonec set itself up from our provisioning address.
func linphone(t *testing.T, h *labtest.Host, url string, hz float64) *softphone {
	t.Helper()
	dir := t.TempDir()
	s := &softphone{t: t, heard: filepath.Join(dir, "heard.wav")}
	writeTone(t, filepath.Join(dir, "tone.wav"), hz)
	if err := os.MkdirAll(filepath.Join(dir, ".local/share/linphone"), 0o700); err != nil { // it does not run without
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "linphonerc"), []byte("[misc]\nconfig-uri="+url+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.Route("default", "via", "192.168.1.1") // without one, it takes the network for down
	s.start(h, dir, "linphonec", "-c", filepath.Join(dir, "linphonerc"))
	labtest.Eventually(t, func() error {
		s.tell("status register")
		return s.said("registered, identity=")
	})
	s.tell("soundcard use files")
	return s
}

// call has Linphone call a number, with a record of its own.
func (s *softphone) call(number string) {
	s.t.Helper()
	if err := os.Remove(s.heard); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	s.tell("play " + filepath.Join(filepath.Dir(s.heard), "tone.wav"))
	s.tell("record " + s.heard)
	s.tell("call " + number)
}

func (s *softphone) start(h *labtest.Host, home, name string, args ...string) {
	s.t.Helper()
	cmd := h.Command(name, args...)
	cmd.Env = append(os.Environ(), "HOME="+home)
	var err error
	if s.commands, err = cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	if s.process, err = h.Host.StartCommand(cmd); err != nil {
		s.t.Fatalf("%v: install the Debian packages baresip-core and linphone-cli", err)
	}
}

// tell gives the softphone a command.
func (s *softphone) tell(command string) {
	s.t.Helper()
	if _, err := io.WriteString(s.commands, command+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// said is an error until the softphone has said something.
func (s *softphone) said(want string) error {
	if out := s.process.Output(); !strings.Contains(out, want) {
		return fmt.Errorf("no %q in:\n%s", want, out)
	}
	return nil
}

func (s *softphone) wait(want string) {
	s.t.Helper()
	labtest.Eventually(s.t, func() error { return s.said(want) })
}

// listens waits until the softphone has recorded three seconds.
func (s *softphone) listens() {
	s.t.Helper()
	labtest.Eventually(s.t, func() error {
		data, err := s.record()
		if err == nil && len(data) < wavHead+3*2*wavRate {
			err = fmt.Errorf("only %d bytes recorded", len(data))
		}
		return err
	})
}

// heardTone is for after the call: the softphone must have heard a tone in it, or any
// sound if hz is 0.
func (s *softphone) heardTone(hz float64) {
	s.t.Helper()
	labtest.Eventually(s.t, func() error { // it writes the file's head in the end
		data, err := s.record()
		if err != nil {
			return err
		}
		return heardIn(data, hz)
	})
}

// record reads what was heard in the last call.
func (s *softphone) record() ([]byte, error) {
	files, err := filepath.Glob(s.heard)
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no record %s (%v)\n%s", s.heard, err, s.process.Output())
	}
	return os.ReadFile(files[len(files)-1])
}

const (
	wavHead = 44 // bytes before the samples
	wavRate = 8000
	window  = wavRate / 10
)

// writeTone makes a minute of a tone, as a WAV file.
func writeTone(t *testing.T, path string, hz float64) {
	t.Helper()
	samples := make([]int16, 60*wavRate)
	for i := range samples {
		samples[i] = int16(8000 * math.Sin(2*math.Pi*hz*float64(i)/wavRate))
	}
	var b bytes.Buffer
	b.WriteString("RIFF")
	for _, v := range []any{
		uint32(wavHead - 8 + 2*len(samples)), []byte("WAVEfmt "), uint32(16), uint16(1), uint16(1), // PCM, one channel
		uint32(wavRate), uint32(2 * wavRate), uint16(2), uint16(16), []byte("data"), uint32(2 * len(samples)), samples,
	} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// heardIn is an error unless a WAV file has the tone in it for a third of a second.
func heardIn(wav []byte, hz float64) error {
	if len(wav) < wavHead || binary.LittleEndian.Uint32(wav[24:]) == 0 {
		return fmt.Errorf("the recording is not complete: %d bytes", len(wav))
	}
	rate := float64(binary.LittleEndian.Uint32(wav[24:]))
	samples := make([]int16, (len(wav)-wavHead)/2)
	if _, err := binary.Decode(wav[wavHead:], binary.LittleEndian, samples); err != nil {
		return err
	}
	best, right := 0.0, 0
	for ; len(samples) >= window; samples = samples[window:] {
		var power, re, im float64
		for i, s := range samples[:window] {
			x := float64(s)
			sin, cos := math.Sincos(2 * math.Pi * hz * float64(i) / rate)
			power, re, im = power+x*x, re+x*cos, im+x*sin
		}
		loud := power > 100*100*window
		share := 2 * (re*re + im*im) / (window * max(power, 1))
		if loud {
			best = max(best, share)
		}
		if loud && (hz == 0 || share > 0.7) {
			right++
		}
	}
	if right >= 3 {
		return nil
	}
	return fmt.Errorf("%g Hz is not heard: it makes %.0f%% of the sound at most", hz, 100*best)
}
