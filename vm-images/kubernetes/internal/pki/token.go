package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"alcove/kubernetes/internal/fault"
)

const tokenPrefix = "K10"

// Token is K3s's: K10<sha256 of the CA file>::<user>:<secret>, or a bare
// secret, which says nothing about the server that it is good for.
type Token struct {
	CAHash string
	User   string
	Secret string
}

// ParseToken reads either form.
func ParseToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return Token{}, fault.New(fault.CodeToken, "the token is empty", "copy it from server/node-token on the server")
	}
	if !strings.HasPrefix(text, tokenPrefix) || !strings.Contains(text, "::") {
		return Token{User: "node", Secret: text}, nil
	}
	hash, credentials, _ := strings.Cut(strings.TrimPrefix(text, tokenPrefix), "::")
	if len(hash) != sha256.Size*2 {
		return Token{}, fault.New(fault.CodeToken, "the token's CA hash is malformed", "copy the whole token from server/node-token on the server")
	}
	if _, err := hex.DecodeString(hash); err != nil {
		return Token{}, fault.New(fault.CodeToken, "the token's CA hash is malformed", "copy the whole token from server/node-token on the server")
	}
	user, secret, found := strings.Cut(credentials, ":")
	if !found || user == "" || secret == "" {
		return Token{}, fault.New(fault.CodeToken, "the token has no user and secret", "copy the whole token from server/node-token on the server")
	}
	return Token{CAHash: hash, User: user, Secret: secret}, nil
}

// String renders the long form.
func (t Token) String() string { return tokenPrefix + t.CAHash + "::" + t.User + ":" + t.Secret }

// CAHash is the hash of an authority's file as the token carries it.
func CAHash(pem []byte) string {
	sum := sha256.Sum256(pem)
	return hex.EncodeToString(sum[:])
}

// Matches compares secrets without telling by its time how much was right.
func (t Token) Matches(user, secret string) bool {
	users := user == "node" || user == t.User
	return subtle.ConstantTimeCompare([]byte(t.Secret), []byte(secret)) == 1 && users
}

// EnsureToken keeps server/token: the given secret, else the one that is
// there, else a new one. A secret that differs from the stored one is an
// error, because every node that has joined would be locked out silently.
func EnsureToken(serverFolder, given string, caPEM []byte) (Token, error) {
	path := filepath.Join(serverFolder, "token")
	token := Token{CAHash: CAHash(caPEM), User: "server"}
	if raw, err := os.ReadFile(path); err == nil {
		stored, err := ParseToken(string(raw))
		if err != nil {
			return Token{}, fmt.Errorf("%s: %w", path, err)
		}
		token.Secret = stored.Secret
	}
	if given != "" {
		wanted, err := ParseToken(given)
		if err != nil {
			return Token{}, err
		}
		if token.Secret != "" && token.Secret != wanted.Secret {
			return Token{}, fault.New(fault.CodeToken, "the configured token differs from the one this cluster was made with", "run `k3s token rotate`, or remove the token from the configuration")
		}
		token.Secret = wanted.Secret
	}
	if token.Secret == "" {
		secret := make([]byte, 16)
		if _, err := rand.Read(secret); err != nil {
			return Token{}, err
		}
		token.Secret = hex.EncodeToString(secret)
	}
	if err := SaveToken(serverFolder, token); err != nil {
		return Token{}, err
	}
	return token, nil
}

// SaveToken writes server/token and the link that K3s's guides name.
func SaveToken(serverFolder string, token Token) error {
	path := filepath.Join(serverFolder, "token")
	want := token.String() + "\n"
	if raw, err := os.ReadFile(path); err != nil || string(raw) != want {
		if err := WriteDurable(path, []byte(want), 0o600); err != nil {
			return err
		}
	}
	link := filepath.Join(serverFolder, "node-token")
	if target, err := os.Readlink(link); err == nil && target == "token" {
		return nil
	}
	if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.Symlink("token", link)
}
