// Package policy says whether VIPs may be moved to even out the load, how many of them, and what holds the others back until
// when. All of it is a function of values and a clock: the record of earlier moves is in the API, so that another leader
// comes to the same answers.
package policy
