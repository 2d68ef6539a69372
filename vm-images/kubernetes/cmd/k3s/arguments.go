package main

import (
	"sort"
	"strings"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"

	"alcove/kubernetes/internal/fault"
)

// parse feeds our own settings and the owner's further flags to a component.
// An owner's flag replaces ours of the same name; feature gates add up.
func parse(component string, flags *pflag.FlagSet, ours map[string]string, owners []string) error {
	flags.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	settings := map[string]string{}
	for name, value := range ours {
		settings[name] = value
	}
	replaced := map[string]bool{}
	list := []string{}
	for _, argument := range owners {
		name, value, found := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		if !found {
			value = "true"
		}
		if gates, ours := settings[name]; ours && name == "feature-gates" && !replaced[name] {
			value = gates + "," + value
		}
		delete(settings, name)
		replaced[name] = true
		list = append(list, "--"+name+"="+value)
	}
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, name)
	}
	sort.Strings(names)
	all := []string{}
	for _, name := range names {
		all = append(all, "--"+name+"="+settings[name])
	}
	if err := flags.Parse(append(all, list...)); err != nil {
		return fault.Wrap(fault.CodeConfigInvalid, err, "a flag of "+component+" is not understood", "check "+component+"-arg in the configuration")
	}
	return nil
}

// joined makes one flag set of a component's named ones.
func joined(component string, named cliflag.NamedFlagSets) *pflag.FlagSet {
	flags := pflag.NewFlagSet(component, pflag.ContinueOnError)
	flags.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, set := range named.FlagSets {
		flags.AddFlagSet(set)
	}
	return flags
}
