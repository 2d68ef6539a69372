// Command k3s fills the place of the K3s release: the control plane, the node
// agent, kubectl and a few chores in one program, chosen by the name it is
// called by or by its first argument.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/fault"
	"alcove/kubernetes/internal/release"
)

// Exit codes, part of the contract with the service unit.
const (
	exitFailed = 1
	exitUsage  = 2
	// exitRenew says that certificates are due, which are only renewed at a
	// start. The unit has every exit followed by one.
	exitRenew = 75
)

const usage = `k3s: Kubernetes in one program

Usage:
  k3s server [options]        run the control plane, and a node unless --disable-agent
  k3s agent [options]         join a server as a node
  k3s kubectl ...             Kubernetes' command line
  k3s token print|rotate      show or replace the secret that lets nodes join
  k3s certificate check       list certificates and their ends
  k3s certificate rotate      remove certificates, to be made anew at the next start
  k3s kill-all                end every pod and remove their networks and mounts
  k3s check-config            see whether this machine can run a node
  k3s --version

Run 'k3s server --help' for the options. The same words are keys of
/etc/rancher/k3s/config.yaml.
`

func main() {
	arguments := os.Args[1:]
	applet := filepath.Base(os.Args[0])
	switch applet {
	case "kubectl", "ctr", "server", "agent":
	default:
		if len(arguments) == 0 {
			fmt.Fprint(os.Stderr, usage)
			os.Exit(exitUsage)
		}
		applet, arguments = arguments[0], arguments[1:]
	}
	os.Exit(run(applet, arguments))
}

func run(applet string, arguments []string) int {
	switch applet {
	case "server":
		return finish(serve(arguments), config.Server)
	case "agent":
		return finish(join(arguments), config.Agent)
	case "kubectl":
		return kubectl(arguments)
	case "token":
		return finish(tokenApplet(arguments), 0)
	case "certificate":
		return finish(certificateApplet(arguments), 0)
	case "kill-all", "killall":
		return finish(killAll(arguments), 0)
	case "check-config":
		return finish(checkConfig(arguments), 0)
	case "--version", "-v", "version":
		fmt.Printf("k3s version %s (%s)\n", release.Version, release.Distribution)
		return 0
	case "--help", "-h", "help":
		fmt.Print(usage)
		return 0
	}
	fmt.Fprintf(os.Stderr, "unknown command %q\n\n%s", applet, usage)
	return exitUsage
}

// finish reports an error once for a person and once for the guest's daemon.
func finish(err error, applet config.Applet) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, pflag.ErrHelp):
		fmt.Print(config.Flags(applet).FlagUsages())
		return 0
	case errors.Is(err, errRenew):
		return exitRenew
	}
	fmt.Fprintf(os.Stderr, "alcove-error %s\n", fault.JSON(err))
	var known *fault.Fault
	if errors.As(err, &known) && known.Code == fault.CodeConfigInvalid {
		return exitUsage
	}
	return exitFailed
}
