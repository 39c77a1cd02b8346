package impact

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever is asked for, a key that passes its check does nothing that the token
// it is made with does not do, and cannot make keys.
func TestAKeyNeverWidensARight(t *testing.T) {
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	all := append(Scopes(), "unheard.of", "")
	rapid.Check(t, func(t *rapid.T) {
		by := Principal{Client: "c", Role: RoleOrganisation, Organisation: "o", Scopes: rapid.SliceOf(rapid.SampledFrom(all)).Draw(t, "token")}
		k := APIKey{
			Name: "x", Scopes: rapid.SliceOf(rapid.SampledFrom(all)).Draw(t, "key"),
			ExpiresAt: now.Add(time.Duration(rapid.Int64Range(-400*24, 400*24).Draw(t, "hours")) * time.Hour),
		}
		if len(k.Check(by, now)) > 0 {
			return
		}
		p := k.Principal()
		for _, s := range p.Scopes {
			if !by.Has(s) || s == KeysManage {
				t.Fatalf("%s of %v", s, by.Scopes)
			}
		}
		if k.State(now) != KeyActive || k.State(now.Add(MaxKeyLife)) != KeyIsExpired {
			t.Fatalf("a key until %s", k.ExpiresAt)
		}
	})
}

func TestAKeyIsAdmittedFromItsNetworksForItsMethods(t *testing.T) {
	k := APIKey{Methods: []string{"GET"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}}
	for _, c := range []struct {
		from, method string
		ok           bool
	}{
		{"192.0.2.255", "GET", true},
		{"2001:db8:ffff::1", "GET", true},
		{"192.0.3.0", "GET", false},
		{"2001:db9::1", "GET", false},
		{"192.0.2.1", "POST", false},
		{"192.0.2.1", "get", false},
	} {
		err := k.Admit(netip.MustParseAddr(c.from), c.method)
		if (err == nil) != c.ok || err != nil && KindOf(err) != Forbidden {
			t.Errorf("%s from %s: %v", c.method, c.from, err)
		}
	}
	if err := k.Admit(netip.Addr{}, "GET"); err == nil {
		t.Error("an address that cannot be read is admitted")
	}
	if err := (&APIKey{}).Admit(netip.Addr{}, "DELETE"); err != nil {
		t.Errorf("a key without restriction: %v", err)
	}
}

func FuzzKeyNetwork(f *testing.F) {
	for _, s := range []string{"192.0.2.0/24", "192.0.2.1", "::1", "10.0.0.1/8", "::ffff:1.2.3.4", "fe80::1%eth0", "0.0.0.0/0", "1.2.3.4/33", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, fault := ParseKeyNetwork(s)
		if fault != nil {
			if fault.Detail.FR == "" || fault.Detail.EN == "" || fault.Hint.FR == "" {
				t.Errorf("%q is refused without a word", s)
			}
			if fault.Suggestion != "" {
				if _, again := ParseKeyNetwork(fault.Suggestion); again != nil {
					t.Errorf("%q is suggested for %q and refused", fault.Suggestion, s)
				}
			}
			return
		}
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			t.Errorf("%q is read as %s", s, p)
		}
		if again, fault := ParseKeyNetwork(p.String()); fault != nil || again != p {
			t.Errorf("%q is written %s, which is not read back", s, p)
		}
	})
}

func TestKeysAreForThoseWhoseRoleMayMakeThem(t *testing.T) {
	for _, r := range []Role{RoleOrganisation, RoleNetwork, RoleBuyer, RoleSteward, RoleAdministrator, Anonymous} {
		want := r == RoleOrganisation || r == RoleNetwork || r == RoleBuyer
		if slices.Contains(AllowedScopes(r), KeysManage) != want {
			t.Errorf("%q", r)
		}
	}
}
