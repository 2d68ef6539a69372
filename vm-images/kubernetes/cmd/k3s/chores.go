package main

func tokenApplet(a []string) error       { return nil }
func certificateApplet(a []string) error { return nil }
func killAll(a []string) error           { return nil }
func checkConfig(a []string) error       { return nil }
