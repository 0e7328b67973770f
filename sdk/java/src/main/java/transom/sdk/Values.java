package transom.sdk;

import com.google.protobuf.ByteString;
import java.util.List;
import java.util.Map;
import transom.plugin.v1.Http.Value;
import transom.plugin.v1.Http.ValueList;
import transom.plugin.v1.Http.ValueMap;

/** Values on the wire and here. */
final class Values {
    private Values() {}

    static Value toWire(Object value) {
        Value.Builder wire = Value.newBuilder();
        if (value instanceof Boolean) {
            wire.setBoolean((Boolean) value);
        } else if (value instanceof Integer || value instanceof Long) {
            wire.setInteger(((Number) value).longValue());
        } else if (value instanceof Number) {
            wire.setNumber(((Number) value).doubleValue());
        } else if (value instanceof String) {
            wire.setText((String) value);
        } else if (value instanceof byte[]) {
            wire.setBytes(ByteString.copyFrom((byte[]) value));
        } else if (value instanceof List) {
            ValueList.Builder list = ValueList.newBuilder();
            ((List<?>) value).forEach(item -> list.addValues(toWire(item)));
            wire.setList(list);
        } else if (value instanceof Map) {
            ValueMap.Builder map = ValueMap.newBuilder();
            ((Map<?, ?>) value).forEach((key, item) -> map.putValues(String.valueOf(key), toWire(item)));
            wire.setMap(map);
        }
        return wire.build();
    }

    /** Text, a Long, a Double, a Boolean, bytes; null for anything else. */
    static Object fromWire(Value value) {
        switch (value.getKindCase()) {
            case BOOLEAN:
                return value.getBoolean();
            case INTEGER:
                return value.getInteger();
            case NUMBER:
                return value.getNumber();
            case TEXT:
                return value.getText();
            case BYTES:
                return value.getBytes().toByteArray();
            default:
                return null;
        }
    }
}
