package transom

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "transom.internal/sdk/go/internal/pb/v1"
)

// service is transom.plugin.v1.Plugin over a Plugin.
type service struct {
	pb.UnimplementedPluginServer
	plugin   *Plugin
	defaults []byte
	level    Level

	mutex sync.RWMutex
	uses  map[uint64]*use
}

// use is a use that is ready.
type use struct {
	fault    string
	clusters []string
	bits     uint32
	filters  *Filters
	network  *NetworkFilters
	source   CertificateSource
	keep     keep
	route    func(*Config) (any, error)

	mutex  sync.Mutex
	routes map[string]any
}

// routeConfig reads the configuration of a route, once.
func (u *use) routeConfig(json []byte) (any, error) {
	if u.route == nil {
		return nil, nil
	}
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if known, is := u.routes[string(json)]; is {
		return known, nil
	}
	read, err := u.route(&Config{json})
	if err != nil {
		return nil, err
	}
	if u.routes == nil {
		u.routes = map[string]any{}
	}
	u.routes[string(json)] = read
	return read, nil
}

func (s *service) register(server *grpc.Server) {
	pb.RegisterPluginServer(server, s)
}

// Describe says what the plugin is and has.
func (s *service) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	answer := &pb.DescribeResponse{Revision: revision, Name: s.plugin.Name, Version: s.plugin.Version}
	for _, filter := range s.plugin.Filters {
		answer.Extensions = append(answer.Extensions, &pb.Extension{
			Kind: pb.Kind_STREAM_FILTER, Name: filter.Name, Phase: pb.Phase(filter.Phase), Schema: filter.Schema,
		})
	}
	for _, filter := range s.plugin.Network {
		answer.Extensions = append(answer.Extensions, &pb.Extension{Kind: pb.Kind_NETWORK_FILTER, Name: filter.Name, Schema: filter.Schema})
	}
	for _, provider := range s.plugin.Certificates {
		answer.Extensions = append(answer.Extensions, &pb.Extension{Kind: pb.Kind_CERTIFICATE_PROVIDER, Name: provider.Name, Schema: provider.Schema})
	}
	for _, log := range s.plugin.AccessLogs {
		answer.Extensions = append(answer.Extensions, &pb.Extension{Kind: pb.Kind_ACCESS_LOG, Name: log.Name, Schema: log.Schema})
	}
	for _, log := range s.plugin.LogSinks {
		answer.Extensions = append(answer.Extensions, &pb.Extension{Kind: pb.Kind_LOG_SINK, Name: log.Name, Schema: log.Schema})
	}
	return answer, nil
}

// Check reads a configuration and keeps nothing.
func (s *service) Check(_ context.Context, request *pb.CheckRequest) (*pb.CheckResponse, error) {
	parsed, err := s.find(request.GetSubject())
	if err != nil {
		return nil, err
	}
	config := s.config(request.GetSubject())
	if request.Route {
		if parsed.route == nil {
			return &pb.CheckResponse{Faults: faults(FaultAt("", "this extension takes no configuration per route"))}, nil
		}
		if _, err := parsed.route(config); err != nil {
			return &pb.CheckResponse{Faults: faults(err)}, nil
		}
		return &pb.CheckResponse{}, nil
	}
	if _, _, err := parsed.parse(config); err != nil {
		return &pb.CheckResponse{Faults: faults(err)}, nil
	}
	return &pb.CheckResponse{}, nil
}

// Prepare makes a use ready.
func (s *service) Prepare(_ context.Context, request *pb.PrepareRequest) (*pb.PrepareResponse, error) {
	subject := request.GetSubject()
	parsed, err := s.find(subject)
	if err != nil {
		return nil, err
	}
	ready, needs, err := s.ready(parsed, subject.GetName(), s.config(subject))
	if err != nil {
		return &pb.PrepareResponse{Faults: faults(err)}, nil
	}
	s.mutex.Lock()
	s.uses[subject.Id] = ready
	s.mutex.Unlock()
	return &pb.PrepareResponse{Needs: needs}, nil
}

// Release lets a use go.
func (s *service) Release(_ context.Context, request *pb.ReleaseRequest) (*pb.ReleaseResponse, error) {
	s.mutex.Lock()
	delete(s.uses, request.UseId)
	s.mutex.Unlock()
	return &pb.ReleaseResponse{}, nil
}

// Certificate asks a provider.
func (s *service) Certificate(_ context.Context, request *pb.CertificateRequest) (*pb.CertificateResponse, error) {
	used := s.use(request.UseId)
	if used.source == nil {
		return nil, status.Errorf(codes.InvalidArgument, "use %d is no certificate provider of this plugin that is ready", request.UseId)
	}
	certificate, err := used.source.Certificate(request.ServerName)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	if certificate == nil {
		return &pb.CertificateResponse{}, nil
	}
	return &pb.CertificateResponse{
		CertificateChain: certificate.Chain, PrivateKey: certificate.Key, ClientAuthorities: certificate.ClientAuthorities,
		RefreshAfterMs: milliseconds(certificate.RefreshAfter),
	}, nil
}

// Work serves one worker of the host.
func (s *service) Work(stream grpc.BidiStreamingServer[pb.ToPlugin, pb.ToHost]) error {
	return newWorker(s, stream).serve()
}

func (s *service) use(id uint64) *use {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	if used := s.uses[id]; used != nil {
		return used
	}
	return &use{fault: fmt.Sprintf("use %d was not prepared", id)}
}

func (s *service) config(subject *pb.Use) *Config {
	if len(subject.GetConfig()) == 0 {
		return &Config{s.defaults}
	}
	return &Config{subject.Config}
}

// extension is one that was found, whatever its kind.
type extension struct {
	// parse gives the use, and what of it Prepare is to call.
	parse func(*Config) (*use, func(*Use) error, error)
	route func(*Config) (any, error)
	asks  *pb.Needs
}

func (s *service) find(subject *pb.Use) (*extension, error) {
	kind, name := subject.GetKind(), subject.GetExtension()
	var found []*extension
	var known []string
	consider := func(of pb.Kind, own string, e *extension) {
		text := strings.ToLower(of.String())
		if own != "" {
			text += fmt.Sprintf(" %q", own)
		}
		known = append(known, text)
		if kind == of && (name == "" || own == name) {
			found = append(found, e)
		}
	}
	for _, filter := range s.plugin.Filters {
		consider(pb.Kind_STREAM_FILTER, filter.Name, &extension{
			parse: func(config *Config) (*use, func(*Use) error, error) {
				filters, err := filter.Parse(config)
				if err != nil {
					return nil, nil, err
				}
				if filters.New == nil {
					return nil, nil, FaultAt("", "the filter's Parse gives no New")
				}
				return &use{filters: filters, clusters: filters.Clusters, route: filter.Route}, filters.Prepare, nil
			},
			route: filter.Route,
			asks: &pb.Needs{
				Attributes: filter.Attributes, RequestHeaders: lower(filter.RequestHeaders), ResponseHeaders: lower(filter.ResponseHeaders),
			},
		})
	}
	for _, filter := range s.plugin.Network {
		consider(pb.Kind_NETWORK_FILTER, filter.Name, &extension{
			parse: func(config *Config) (*use, func(*Use) error, error) {
				filters, err := filter.Parse(config)
				if err != nil {
					return nil, nil, err
				}
				if filters.New == nil {
					return nil, nil, FaultAt("", "the filter's Parse gives no New")
				}
				return &use{network: filters, clusters: filters.Clusters}, filters.Prepare, nil
			},
			asks: &pb.Needs{Attributes: filter.Attributes},
		})
	}
	for _, provider := range s.plugin.Certificates {
		consider(pb.Kind_CERTIFICATE_PROVIDER, provider.Name, &extension{
			parse: func(config *Config) (*use, func(*Use) error, error) {
				source, err := provider.Parse(config)
				if err != nil {
					return nil, nil, err
				}
				// The first answer must be good: else the use is not ready.
				return &use{source: source}, func(*Use) error {
					_, err := source.Certificate("")
					return err
				}, nil
			},
			asks: &pb.Needs{},
		})
	}
	for _, log := range s.plugin.AccessLogs {
		consider(pb.Kind_ACCESS_LOG, log.Name, &extension{
			parse: func(config *Config) (*use, func(*Use) error, error) {
				logger, err := log.Parse(config)
				if err != nil {
					return nil, nil, err
				}
				return &use{keep: keepEntries(logger)}, nil, nil
			},
			asks: &pb.Needs{
				Attributes: log.Attributes, RequestHeaders: lower(log.RequestHeaders), ResponseHeaders: lower(log.ResponseHeaders),
			},
		})
	}
	for _, log := range s.plugin.LogSinks {
		consider(pb.Kind_LOG_SINK, log.Name, &extension{
			parse: func(config *Config) (*use, func(*Use) error, error) {
				logger, err := log.Parse(config)
				if err != nil {
					return nil, nil, err
				}
				return &use{keep: keepLines(logger)}, nil, nil
			},
			asks: &pb.Needs{},
		})
	}
	if len(found) != 1 {
		return nil, status.Errorf(codes.InvalidArgument, "this plugin has no %s named %q; it has: %s",
			strings.ToLower(kind.String()), name, strings.Join(known, ", "))
	}
	return found[0], nil
}

// ready parses and prepares a use.
func (s *service) ready(found *extension, name string, config *Config) (*use, *pb.Needs, error) {
	ready, prepare, err := found.parse(config)
	if err != nil {
		return nil, nil, err
	}
	outer := &Use{Name: name}
	if prepare != nil {
		if err := prepare(outer); err != nil {
			return nil, nil, err
		}
	}
	needs := &pb.Needs{
		Attributes: found.asks.Attributes, RequestHeaders: found.asks.RequestHeaders, ResponseHeaders: found.asks.ResponseHeaders,
		Clusters: ready.clusters,
	}
	for _, metric := range outer.metrics {
		needs.Metrics = append(needs.Metrics, &pb.Metric{Type: metric.kind, Name: metric.name, Help: metric.help, Labels: metric.labels})
	}
	if filters := ready.filters; filters != nil {
		ready.bits = callbacks(filters)
		needs.WholeRequestBody, needs.WholeResponseBody = filters.WholeRequestBody, filters.WholeResponseBody
		needs.BufferLimit = filters.BufferLimit
	}
	if network := ready.network; network != nil {
		filter := network.New()
		if _, is := filter.(ClientData); is {
			ready.bits |= wantsRequestBody
		}
		if _, is := filter.(HostData); is {
			ready.bits |= wantsResponseBody
		}
	}
	needs.Callbacks = ready.bits
	return ready, needs, nil
}

func lower(names []string) []string {
	all := make([]string, 0, len(names))
	for _, name := range names {
		all = append(all, strings.ToLower(name))
	}
	return all
}
