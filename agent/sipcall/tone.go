package sipcall

import "math"

const (
	sampleRate = 8000
	frameSize  = 160 // samples of 20 ms
	// windowSize is how many samples are judged at once: 100 ms, so that tones 10 Hz
	// apart are told from each other.
	windowSize = 800
	amplitude  = 8000 // of the tone that is sent; full scale is 32767
	// quiet is the level below which nothing was said: about -50 dB of full scale.
	quiet = 100
	// purity is which part of what is heard must be the tone.
	purity = 0.7
)

// oscillator makes a tone, frame after frame.
type oscillator struct{ phase, step float64 }

func newOscillator(hz float64) *oscillator { return &oscillator{step: 2 * math.Pi * hz / sampleRate} }

func (o *oscillator) next() int16 {
	o.phase = math.Mod(o.phase+o.step, 2*math.Pi)
	return int16(amplitude * math.Sin(o.phase))
}

// level is the root mean square of samples.
func level(samples []int16) float64 {
	sum := 0.0
	for _, s := range samples {
		sum += float64(s) * float64(s)
	}
	return math.Sqrt(sum / float64(len(samples)))
}

// share is which part of the power of samples a tone has, 0 to 1 (Goertzel's
// algorithm).
func share(samples []int16, hz float64) float64 {
	total := level(samples)
	if total == 0 {
		return 0
	}
	k := 2 * math.Cos(2*math.Pi*hz/sampleRate)
	var s1, s2 float64
	for _, s := range samples {
		s1, s2 = float64(s)+k*s1-s2, s1
	}
	n := float64(len(samples))
	return 2 * (s1*s1 + s2*s2 - k*s1*s2) / (n * n) / (total * total)
}

// hears reports whether there is a tone in the samples, or any sound if hz is 0.
func hears(samples []int16, hz float64) bool {
	if level(samples) < quiet {
		return false
	}
	return hz == 0 || share(samples, hz) >= purity
}
