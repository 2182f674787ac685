package problem

import "fmt"

// ManagedCard tells that another program manages a card that is ours. Severity and Part are for who found it.
func ManagedCard(card, manager, evidence, advice string) Problem {
	return Problem{
		ID: CardManaged, Subject: card, What: fmt.Sprintf("%s (%s) manages %s, so sae-agent does not", manager, evidence, card),
		Fix: "sae-agent takeover has it leave the card alone; or: " + advice,
	}
}

// FixNoCard is what to do about a card that is not there; role is wan or lan.
func FixNoCard(role string) string {
	return "correct " + role + ".interface in the file: 'ip link' lists the cards"
}

// FixNoLink is what to do about a card without a link.
func FixNoLink(card string) string {
	return "look at the cable of " + card + " and at what it is plugged into"
}
