// Package impact is the domain of Retombées: what organisations state about
// their effect on a territory, and the rules that hold on paper before any
// database or network is involved.
//
// Words (they are the words of the API and of the documentation):
//
//   - an Organisation acts; a Statement is what it says, an Observation is the
//     statement once its codes are resolved and its value is exact;
//   - an Indicator says what is measured and, by its Kind, how values may be
//     combined; an ImpactType is a nature of impact;
//   - a Territory has an identity in time, (type, code, first day in force);
//   - a Period is a closed interval of days;
//   - a Fault is one thing that is wrong, said to the person who can mend it.
//
// The package imports the standard library only and knows no clock.
package impact
