package impact

// Completeness tells what a submission was asked and what it answered.
type Completeness struct {
	Submission    SubmissionID
	Questionnaire string // code, empty when nothing is asked
	Asked         int
	Answered      int
	// NoValue counts the answers without a number, by status.
	NoValue map[Status]int
	Items   []CompletenessItem
	// Blocking is what stops the submission from being submitted.
	Blocking []Fault
}

// CompletenessItem is one indicator that was asked for.
type CompletenessItem struct {
	Indicator    IndicatorCode
	Required     bool
	Answered     bool
	Observations int
	NoValue      map[Status]int
}

// Complete tells that nothing stops the submission.
func (c Completeness) Complete() bool { return len(c.Blocking) == 0 }

// NewCompleteness compares the observations of a submission with its
// questionnaire (nil when there is none). A number, "not collected" (L) and "not
// applicable" (M) are answers, "missing" (O) is not (domain.md C5). A composed
// indicator is answered when each of its leaf components is.
func NewCompleteness(c *Catalogue, q *Questionnaire, observations []Observation) Completeness {
	out := Completeness{NoValue: map[Status]int{}}
	type answer struct {
		count, answers int
		noValue        map[Status]int
	}
	byIndicator := map[IndicatorKey]*answer{}
	for i := range observations {
		o := &observations[i]
		if o.Deleted {
			continue
		}
		a := byIndicator[o.Indicator]
		if a == nil {
			a = &answer{noValue: map[Status]int{}}
			byIndicator[o.Indicator] = a
		}
		a.count++
		if !o.Status.HasNumber() {
			a.noValue[o.Status]++
		}
		if o.Status != Missing {
			a.answers++
		}
	}
	for _, a := range byIndicator {
		for s, n := range a.noValue {
			out.NoValue[s] += n
		}
	}
	if q == nil {
		if len(byIndicator) == 0 {
			out.Blocking = append(out.Blocking, *newFault("missing_field", "",
				"Cette déclaration ne contient aucune observation.", "This submission holds no observation.",
				"Ajoutez au moins une observation.", "Add one observation at least.").at("/observations"))
		}
		return out
	}
	out.Questionnaire = q.Code
	for _, asked := range q.Indicators {
		item := CompletenessItem{Indicator: asked.Indicator, Required: asked.Required, NoValue: map[Status]int{}}
		if ind := c.Indicator(asked.Indicator); ind != nil {
			item.Answered = true
			for _, leaf := range c.Leaves(ind) {
				a := byIndicator[leaf.Key]
				if a == nil || a.answers == 0 {
					item.Answered = false
				}
				if a != nil {
					item.Observations += a.count
					for s, n := range a.noValue {
						item.NoValue[s] += n
					}
				}
			}
		}
		out.Asked++
		if item.Answered {
			out.Answered++
		} else if item.Required {
			out.Blocking = append(out.Blocking, *newFault("missing_field", string(asked.Indicator),
				"L'indicateur "+string(asked.Indicator)+" est demandé et n'a pas de réponse.",
				"The indicator "+string(asked.Indicator)+" is asked for and has no answer.",
				"Donnez une valeur, 0 si rien n'a eu lieu, ou null avec le statut L (non collecté) ou M (sans objet).",
				"Give a value, 0 if nothing took place, or null with the status L (not collected) or M (not applicable).").at("/observations"))
		}
		out.Items = append(out.Items, item)
	}
	return out
}
