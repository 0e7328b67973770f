//go:build !stdio

package main

import "errors"

func stdio(*run) error {
	return errors.New("this release of go-plugin has no GRPCStdio")
}
