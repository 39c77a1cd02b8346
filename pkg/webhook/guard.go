package webhook

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"

	"github.com/grandlyon/retombees/pkg/impact"
)

// MaxURL is the longest address of a receiver, in bytes.
const MaxURL = 2000

// Guard keeps the server from being made to speak to networks its callers
// cannot reach themselves. An address is judged twice: as it is written, when
// somebody gives it, and as the number a socket is about to connect to, every
// time. Only the second is a protection: a name may lead elsewhere tomorrow.
type Guard struct {
	numbers *ssrf.Guardian
	allowed []netip.Prefix
}

// NewGuard allows what the Internet routes to anyone, and the prefixes allowed
// beside that: for a receiver of the same house, or for tests. To a loopback
// address among them http may be spoken too. denied are public addresses that
// are refused all the same: the house's own.
func NewGuard(allowed, denied []netip.Prefix) *Guard {
	v4, v6 := families(allowed)
	no4, no6 := families(denied)
	return &Guard{allowed: allowed, numbers: ssrf.New(
		ssrf.WithAnyPort(), // CheckURL says which
		ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...),
		ssrf.WithDeniedV4Prefixes(no4...), ssrf.WithDeniedV6Prefixes(no6...),
	)}
}

func families(all []netip.Prefix) (v4, v6 []netip.Prefix) {
	for _, p := range all {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return v4, v6
}

// control is asked by the dialer once the name has been resolved, for each
// address, before the socket connects: what is checked is what is dialled.
func (g *Guard) control(network, address string, c syscall.RawConn) error {
	return g.numbers.Safe(network, address, c)
}

// CheckURL tells what is wrong with the address of a receiver as it is written;
// nil when it may be tried. A name is not looked up here.
func (g *Guard) CheckURL(text string) *impact.Fault {
	if len(text) > MaxURL {
		return refuse("too_long", "", impact.Text{FR: "Cette adresse dépasse 2 000 caractères.", EN: "This address is over 2,000 characters."},
			impact.Text{FR: "Raccourcissez-la.", EN: "Shorten it."})
	}
	example := impact.Text{FR: "Par exemple https://crm.example.org/retombees.", EN: "For instance https://crm.example.org/retombees."}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return refuse("invalid_type", text, impact.Text{FR: "Ce n'est pas une adresse absolue, en caractères ASCII.", EN: "This is not an absolute address in ASCII characters."}, example)
	}
	if u.User != nil {
		return refuse("invalid_type", "", impact.Text{FR: "Une adresse ne contient ni identifiant ni mot de passe.", EN: "An address holds neither user name nor password."},
			impact.Text{FR: "La signature de chaque envoi prouve d'où il vient.", EN: "The signature of each delivery proves where it comes from."})
	}
	if strings.Contains(text, "#") {
		return refuse("invalid_type", text, impact.Text{FR: "Ce qui suit « # » n'est pas envoyé.", EN: "What follows \"#\" is never sent."}, impact.Text{FR: "Ôtez-le.", EN: "Leave it out."})
	}
	number, _ := netip.ParseAddr(u.Hostname())
	named := slices.ContainsFunc(g.allowed, func(p netip.Prefix) bool { return p.Contains(number) })
	switch {
	case number.IsValid() && g.numbers.SafeAddr(number) != nil, !number.IsValid() && !publicName(u.Hostname()):
		return refuse("out_of_range", text, impact.Text{FR: "Cette adresse n'est pas sur l'internet public.", EN: "This address is not on the public Internet."},
			impact.Text{FR: "Donnez le nom public, en https, du service qui reçoit.", EN: "Give the public name, over https, of the service that receives."})
	case u.Scheme != "https" && (u.Scheme != "http" || !named || !number.IsLoopback()):
		return refuse("invalid_type", text, impact.Text{FR: "L'adresse doit commencer par https://.", EN: "The address must begin with https://."}, example)
	case !named && !permittedPort(u.Port()):
		return refuse("out_of_range", text, impact.Text{FR: "Ce port n'est pas permis.", EN: "This port is not allowed."},
			impact.Text{FR: "443, ou un port à partir de 1024.", EN: "443, or a port from 1024 on."})
	}
	return nil
}

// permittedPort leaves the ports of other protocols (mail, databases of old,
// remote shells) alone.
func permittedPort(port string) bool {
	n, err := strconv.Atoi(port)
	return port == "" || err == nil && (n == 443 || n >= 1024 && n <= 65535)
}

// notPublic are the ends of names that mean one machine, one network, or nobody.
var notPublic = []string{"localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "arpa", "onion", "test", "invalid"}

// publicName tells a name of the public tree from the names of one machine or
// one network, and from numbers in spellings that only some programs read
// (0x7f.1, 2130706433).
func publicName(host string) bool {
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	last := labels[len(labels)-1]
	if len(labels) < 2 || len(host) > 253 || strings.HasPrefix(last, "0x") || strings.Trim(last, "0123456789") == "" || slices.Contains(notPublic, last) {
		return false
	}
	return !slices.ContainsFunc(labels, func(l string) bool {
		return l == "" || len(l) > 63 || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != ""
	})
}

func refuse(code impact.FaultCode, value string, detail, hint impact.Text) *impact.Fault {
	return &impact.Fault{Code: code, Pointer: "/url", Value: value, Detail: detail, Hint: hint}
}
