// Package notify tells systemd about a service's state.
package notify

import (
	"net"
	"os"
	"strings"
)

// Socket takes NOTIFY_SOCKET out of the environment: the kubelet would
// otherwise report READY=1 by itself, long before the API answers, and every
// child could.
func Socket() string {
	path := os.Getenv("NOTIFY_SOCKET")
	os.Unsetenv("NOTIFY_SOCKET")
	os.Unsetenv("WATCHDOG_USEC")
	os.Unsetenv("WATCHDOG_PID")
	return path
}

// Send sends one state, such as READY=1; without a socket it does nothing.
func Send(path, state string) error {
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	connection, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer connection.Close()
	_, err = connection.Write([]byte(state))
	return err
}
