package main

import (
	"testing"

	transom "transom.internal/sdk/go"
)

func TestWhoHasTheHeaderPasses(t *testing.T) {
	for user, status := range map[string]int{"admin": 0, "guest": 403} {
		trial := transom.Trial{Config: `{"User": "admin"}`, Headers: []transom.Field{{Name: "user", Value: user}}}
		outcome, err := trial.Run(transom.StreamFilter{Parse: parse})
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		if outcome.Reply != nil {
			seen = outcome.Reply.Status
		}
		if seen != status {
			t.Errorf("%s: %d", user, seen)
		}
	}
}
