package main

import "alcove/kubernetes/internal/fault"

func join([]string) error { return fault.New(fault.CodeUnsupported, "agent", "") }
