//go:build pprof

package main

import (
	"net/http"
	_ "net/http/pprof" // for measuring: go build -tags pprof
	"os"
	"runtime/pprof"
	"time"
)

// Built with -tags pprof, K3S_PPROF names an address for net/http/pprof and
// K3S_CPUPROFILE a file that takes the profile of the first seconds.
func init() {
	if address := os.Getenv("K3S_PPROF"); address != "" {
		go http.ListenAndServe(address, nil)
	}
	if path := os.Getenv("K3S_CPUPROFILE"); path != "" {
		file, err := os.Create(path)
		if err != nil {
			return
		}
		if pprof.StartCPUProfile(file) == nil {
			time.AfterFunc(6*time.Second, func() { pprof.StopCPUProfile(); file.Close() })
		}
	}
}
