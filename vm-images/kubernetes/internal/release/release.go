// Package release carries the version that the build stamps in.
package release

// Version is Kubernetes' version with our build's suffix.
var Version = "v1.36.3+alcove1"

// Distribution names what fills K3s's place, for manifests and About pages.
const Distribution = "modules"
