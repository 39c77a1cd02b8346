package impact

// Page asks for rows after a position. After holds the sort-key values of the
// last row already seen, nil for the first page; Limit is at least 1.
type Page struct {
	Limit int
	After []string
}
