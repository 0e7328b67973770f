//go:build !stdio

package main

import "strings"

// A host of a release without GRPCStdio never reads what the plugin prints: the plugin must not wait for it.
func stdio(r *run) error {
	test, err := r.start()
	if err != nil {
		return err
	}
	if err := test.printKV("print", strings.Repeat("x", 1_000_000)); err != nil {
		return err
	}
	return test.double(5, 10)
}
