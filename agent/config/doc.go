// Package config is the appliance's one file: its keys, their types and
// defaults, and what can be wrong with them.
//
// The file is read strictly: whatever is unknown, misplaced, impossible or
// contradictory is an error, all errors are reported at once, and each says
// where it is, what is wrong and how to mend it. A file that parses gives a
// Config in which every default is filled in.
//
// The package knows nothing of what is done with a Config, and of phones only
// what the file says: whether a model exists is asked through Options.
package config
