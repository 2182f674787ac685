package install

import (
	"context"
	"errors"
	"fmt"
)

// Opening is how far FreePBX's first run is.
type Opening string

// How far it can be.
const (
	OpeningDone    Opening = "done"    // there is an administrator
	OpeningGuarded Opening = "guarded" // there is none, and strangers are kept away
	OpeningOpen    Opening = "open"    // there is none, and the next visitor becomes it
)

// PBX is the FreePBX that is looked after.
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
	// Of the site: its name, the language in English as Yealink names it, and an IANA
	// time zone.
	Name, Language, Timezone string
}

// Look opens the web interface once there is an administrator, and sets what the site
// is called and speaks: once, for from then on the administrator decides.
func (f FirstRun) Look(ctx context.Context) (Opening, error) {
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
	if code, ok := languages[f.Language]; ok {
		out = append(out, [2]string{"UIDEFAULTLANG", code})
	}
	return out
}

// languages are those of FreePBX's web interface, by Yealink's names. With another
// one FreePBX stays as it is.
var languages = map[string]string{
	"English": "en_US", "French": "fr_FR", "French_CA": "fr_FR", "German": "de_DE", "Italian": "it_IT", "Spanish": "es_ES",
	"Spanish_LA": "es_ES", "Portuguese": "pt_PT", "Portuguese_LA": "pt_BR", "Russian": "ru_RU", "Ukrainian": "uk_UA", "Swedish": "sv_SE",
	"Hungarian": "hu_HU", "Hebrew": "he_IL", "Japanese": "ja_JP", "Chinese_S": "zh_CN",
}
