//go:build mux

package plugin

func multiplex(config *ClientConfig, on bool) { config.GRPCBrokerMultiplex = on }
