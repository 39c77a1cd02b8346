package main

import "testing"

func TestPublicationFlagsAreRead(t *testing.T) {
	var lyon rectangle
	if err := lyon.UnmarshalText([]byte("4.6884, 45.5524,5.0692,45.9399")); err != nil || lyon != (rectangle{4.6884, 45.5524, 5.0692, 45.9399}) {
		t.Error(lyon, err)
	}
	for _, wrong := range []string{"", "1,2,3", "5,45,4,46", "4,46,5,45", "a,45,5,46", "4,45,5,91", "NaN,45,5,46"} {
		var r rectangle
		if r.UnmarshalText([]byte(wrong)) == nil {
			t.Errorf("%q is read as %v", wrong, r)
		}
	}
	good := publicationFlags{IdentifierBase: "https://former.example/", PublisherName: "M", PublisherHomepage: "https://m.example/", ContactEmail: "donnees@m.example", Coverage: lyon}
	c, err := good.catalogue(true)
	if err != nil || c.Identifiers != "https://former.example" || c.Publisher.Name == "M" || c.Extent.North != 45.9399 {
		t.Errorf("%+v %v", c, err)
	}
	for _, spoil := range []func(*publicationFlags){
		func(f *publicationFlags) { f.IdentifierBase = "former.example" },
		func(f *publicationFlags) { f.PublisherHomepage = "javascript:alert(1)" },
		func(f *publicationFlags) { f.ContactEmail = "Données <donnees@m.example>" },
	} {
		f := good
		spoil(&f)
		if _, err := f.catalogue(false); err == nil {
			t.Errorf("%+v is taken", f)
		}
	}
}
