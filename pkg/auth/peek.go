package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

const maxClaimDepth = 16

// peek reads the issuer a token claims, and refuses one whose header or claims
// name a member twice: readers would not agree on what it says. Nothing is
// verified yet.
func peek(token string) (issuer string, err error) {
	header, rest, _ := strings.Cut(token, ".")
	payload, _, dotted := strings.Cut(rest, ".")
	if !dotted {
		return "", errors.New("not three parts")
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	var text []byte
	for _, part := range []string{header, payload} {
		if text, err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return "", err
		}
		d := json.NewDecoder(bytes.NewReader(text))
		if err := once(d, 0); err != nil {
			return "", err
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return "", errors.New("something follows the claims")
		}
	}
	err = json.Unmarshal(text, &claims) // of the claims: an iss in the header is another's
	return claims.Issuer, err
}

// once reads one value and refuses a member that comes back, in any case.
func once(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxClaimDepth {
		return errors.New("nested too deep")
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			folded := strings.ToLower(name.(string))
			if seen[folded] {
				return errors.New("a member is given twice")
			}
			seen[folded] = true
		}
		if err := once(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
