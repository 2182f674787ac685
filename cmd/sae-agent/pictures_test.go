package main

import (
	"bytes"
	"cmp"
	"context"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

const (
	// screenshotsEnv names a directory into which TestBrowser puts pictures of the pages.
	screenshotsEnv = "SAE_SCREENSHOTS"
	// maxPicture and maxPictures bound what a clone of the repository has to carry, in bytes.
	maxPicture, maxPictures = 100 << 10, 1536 << 10
)

// picture puts what is shown into a file, when pictures are wanted.
func (w *tab) picture(name string, width int64, scheme string) {
	w.t.Helper()
	if w.chromium.pictures == "" {
		return
	}
	var data []byte
	var height int64
	w.prefer("en", scheme)
	w.until(`[...document.querySelectorAll(".gutter")].every(e => e.textContent)`) // the editor comes after its page
	w.eval(`for (const [old, text] of [[`+quote(w.machine)+`, "/etc/sae-agent"], [`+quote(attack)+`, "desk-99"], ["needle-", ""]]) {
		for (const t = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); t.nextNode();)
			t.currentNode.nodeValue = t.currentNode.nodeValue.replaceAll(old, text);
		for (const e of document.querySelectorAll("textarea")) {
			e.dataset.typed ??= e.value;
			e.value = e.value.replaceAll(old, text);
		}
	}`, nil)
	w.do(emulation.SetDeviceMetricsOverride(width, 700, 1, width < 500),
		chromedp.Evaluate(`document.documentElement.scrollHeight`, &height),
		chromedp.ActionFunc(func(ctx context.Context) (err error) {
			data, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).
				WithClip(&page.Viewport{Width: float64(width), Height: float64(min(max(height, 300), 1400)), Scale: 1}).Do(ctx)
			return err
		}),
		emulation.ClearDeviceMetricsOverride(),
		chromedp.Evaluate(`document.querySelectorAll("textarea").forEach(e => { e.value = e.dataset.typed; delete e.dataset.typed; })`, nil))
	w.prefer("en", "light")
	if scheme == "dark" {
		name += "-dark"
	}
	if width < 500 {
		name += "-narrow"
	}
	data, err := small(data)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.chromium.pictures, name+".png"), data, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// small makes a PNG of at most 64 colours, those that are most of the picture: pages have few, and shades of letters.
func small(data []byte) ([]byte, error) {
	src, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	count := make(map[color.RGBA]int)
	area := src.Bounds()
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			count[color.RGBAModel.Convert(src.At(x, y)).(color.RGBA)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	var palette color.Palette
	for _, c := range colours[:min(len(colours), 64)] {
		palette = append(palette, c)
	}
	dst := image.NewPaletted(area, palette)
	draw.Draw(dst, area, src, area.Min, draw.Src)
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, dst)
	return out.Bytes(), err
}

// Each page of the console has a picture that docs/console.md shows, and the repository has no others.
func TestPictures(t *testing.T) {
	docs, err := os.ReadFile(filepath.Join(repository, "docs", "console.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(repository, "docs", "console", "*.png"))
	if err != nil {
		t.Fatal(err)
	}
	have := make(map[string]bool)
	total := 0
	for _, file := range files {
		name := filepath.Base(file)
		have[name] = true
		if !strings.Contains(string(docs), "(console/"+name+")") {
			t.Errorf("docs/console.md does not show %s", name)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(bytes.NewReader(data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if total += len(data); len(data) > maxPicture {
			t.Errorf("%s has %d bytes, at most %d are good: see small", name, len(data), maxPicture)
		}
	}
	if total > maxPictures {
		t.Errorf("the pictures have %d bytes together, at most %d are good", total, maxPictures)
	}
	for _, path := range append(browserPages, "/phones/"+strangerMAC) {
		if name := pictureOf(path) + ".png"; !have[name] {
			t.Errorf("the page %s has no picture docs/console/%s: make screenshots", path, name)
		}
	}
}

// pictureOf is the name of a page's picture.
func pictureOf(path string) string {
	switch {
	case path == "/":
		return "overview"
	case strings.HasPrefix(path, "/phones/"):
		return "phone"
	}
	return strings.TrimPrefix(path, "/")
}
