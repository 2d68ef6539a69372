// Package fault is the one error shape that reaches a person: a code from a
// closed list, a message, and a hint that says what to do next.
package fault

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Codes that leave this program.
const (
	CodeConfigInvalid   = "config_invalid"
	CodeUnsupported     = "unsupported"
	CodeCertificates    = "certificates"
	CodeToken           = "token_invalid"
	CodeDatastore       = "datastore"
	CodeAPIServer       = "apiserver"
	CodeContainerd      = "containerd"
	CodeKubelet         = "kubelet"
	CodeComponentEnded  = "component_ended"
	CodeUnreachable     = "server_unreachable"
	CodePermission      = "permission_denied"
	CodeImage           = "image"
	CodeInternal        = "internal"
	CodeHostUnsupported = "host_unsupported"
)

// Fault is an error with a code and a hint.
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	cause   error
}

// New makes a fault.
func New(code, message, hint string) *Fault {
	return &Fault{Code: code, Message: message, Hint: hint}
}

// Wrap makes a fault whose message ends in the cause's.
func Wrap(code string, cause error, message, hint string) *Fault {
	return &Fault{Code: code, Message: fmt.Sprintf("%s: %v", message, cause), Hint: hint, cause: cause}
}

// Error implements error.
func (f *Fault) Error() string {
	if f.Hint == "" {
		return f.Message
	}
	return f.Message + " (" + f.Hint + ")"
}

// Unwrap gives the cause, if there is one.
func (f *Fault) Unwrap() error { return f.cause }

// JSON renders any error in the one shape; a plain error gets CodeInternal.
func JSON(err error) string {
	var f *Fault
	if !errors.As(err, &f) {
		f = New(CodeInternal, err.Error(), "")
	} else if f.Message != err.Error() && f.Error() != err.Error() {
		f = &Fault{Code: f.Code, Message: err.Error(), Hint: f.Hint}
	}
	out, jsonErr := json.Marshal(f)
	if jsonErr != nil {
		return `{"code":"internal","message":"an error that could not be rendered"}`
	}
	return string(out)
}
