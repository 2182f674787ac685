package install

import (
	"context"
	"errors"
	"fmt"

	"github.com/sae-agent/sae-agent/internal/lang"
)

// Opening is how far FreePBX's first run is.
type Opening string

// How far it can be.
const (
	OpeningDone    Opening = "done"    // there is an administrator
	OpeningGuarded Opening = "guarded" // there is none, and strangers are kept away
	OpeningOpen    Opening = "open"    // there is none, and the next visitor becomes it
)

// PBX is the FreePBX that was installed.
type PBX interface {
	// Admins counts the accounts of the web interface.
	Admins(ctx context.Context) (int, error)
	// Set changes one of the advanced settings.
	Set(ctx context.Context, setting, value string) error
}

// FirstRun ends FreePBX's first run when an administrator exists.
type FirstRun struct {
	PBX   PBX
	Guard Guard
	// Reload has a unit read its configuration again.
	Reload func(ctx context.Context, unit string) error
	// Of the site: its name, its language (BCP 47) and its time zone (IANA).
	Name, Language, Timezone string
}

// Reconcile opens the web interface once there is an administrator, and sets what the site
// is called and speaks: once, for from then on the administrator decides.
func (f FirstRun) Reconcile(ctx context.Context) (Opening, error) {
	n, err := f.PBX.Admins(ctx)
	if err != nil {
		return "", err
	}
	switch there := f.Guard.There(); {
	case n == 0 && there:
		return OpeningGuarded, nil
	case n == 0:
		return OpeningOpen, nil
	case !there:
		return OpeningDone, nil
	}
	settings := f.set(ctx) // what fails can be set by hand; the door opens all the same
	if err := f.Guard.Remove(); err != nil {
		return OpeningGuarded, errors.Join(settings, err)
	}
	return OpeningDone, errors.Join(settings, f.Reload(ctx, apacheUnit))
}

func (f FirstRun) set(ctx context.Context) error {
	var errs []error
	for _, s := range f.settings() {
		if err := f.PBX.Set(ctx, s[0], s[1]); err != nil {
			errs = append(errs, fmt.Errorf("%w: set it under Settings, Advanced Settings", err))
		}
	}
	return errors.Join(errs...)
}

// settings are FreePBX's advanced settings that the site decides.
func (f FirstRun) settings() [][2]string {
	out := [][2]string{{"FREEPBX_SYSTEM_IDENT", f.Name}, {"PHPTIMEZONE", f.Timezone}}
	if code, ok := languages().Of(f.Language); ok {
		out = append(out, [2]string{"UIDEFAULTLANG", code})
	}
	return out
}

// languages are those of FreePBX's web interface. With another one FreePBX stays as it is.
func languages() lang.Names {
	return lang.Names{
		{"en", "en_US"}, {"fr", "fr_FR"}, {"de", "de_DE"}, {"it", "it_IT"}, {"es", "es_ES"}, {"pt", "pt_PT"}, {"pt-BR", "pt_BR"},
		{"ru", "ru_RU"}, {"uk", "uk_UA"}, {"sv", "sv_SE"}, {"hu", "hu_HU"}, {"he", "he_IL"}, {"ja", "ja_JP"}, {"zh-Hans", "zh_CN"},
	}
}
