package transom.sdk;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import transom.plugin.v1.PluginOuterClass.Metric;

/** A use that is made ready: it defines metrics, whose numbers {@link Flow#count} and {@link Flow#observe} take. */
public final class Use {
    private final String name;
    final List<Metric> metrics = new ArrayList<>();

    Use(String name) {
        this.name = name;
    }

    /** The use's name, for logs. */
    public String name() {
        return name;
    }

    /** A metric that only grows; by habit its name ends in _total. */
    public int counter(String name, String help, Map<String, String> labels) {
        return define(Metric.Type.COUNTER, name, help, labels);
    }

    /** A metric that grows and shrinks. */
    public int gauge(String name, String help, Map<String, String> labels) {
        return define(Metric.Type.GAUGE, name, help, labels);
    }

    /** A metric of durations; by habit its name ends in _seconds. */
    public int histogram(String name, String help, Map<String, String> labels) {
        return define(Metric.Type.HISTOGRAM, name, help, labels);
    }

    /** A metric of plain numbers. */
    public int distribution(String name, String help, Map<String, String> labels) {
        return define(Metric.Type.DISTRIBUTION, name, help, labels);
    }

    private int define(Metric.Type type, String name, String help, Map<String, String> labels) {
        metrics.add(Metric.newBuilder().setType(type).setName(name).setHelp(help).putAllLabels(labels).build());
        return metrics.size() - 1;
    }
}
