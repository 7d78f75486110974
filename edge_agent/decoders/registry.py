"""Which decoder a meter needs, by the protocol of its map."""

from edge_agent.config import MeterConfig
from edge_agent.decoders.bacnet import BacnetDecoder
from edge_agent.decoders.base import Decoder
from edge_agent.decoders.cjt188 import Cjt188Decoder
from edge_agent.decoders.dlt645 import Dlt645Decoder
from edge_agent.decoders.manual import ManualDecoder
from edge_agent.decoders.mbus import MbusDecoder
from edge_agent.decoders.modbus import ModbusDecoder
from edge_agent.decoders.mqtt_json import MqttJsonDecoder
from edge_agent.decoders.opcua import OpcUaDecoder
from edge_agent.maps.bacnet import BacnetMap
from edge_agent.maps.base import DeviceMap
from edge_agent.maps.cjt188 import Cjt188Map
from edge_agent.maps.dlt645 import Dlt645Map
from edge_agent.maps.manual import ManualMap
from edge_agent.maps.mbus import MbusMap
from edge_agent.maps.modbus import ModbusMap
from edge_agent.maps.mqtt_json import MqttJsonMap
from edge_agent.maps.opcua import OpcUaMap


def make_decoder(meter: MeterConfig, device: DeviceMap, *, by_hand: bool = False) -> Decoder:
    """Return the decoder of one meter. ValueError when its configuration does not fit its map.

    Args:
        meter: its id and address.
        device: its map.
        by_hand: whether a person reads it, whatever protocol it speaks.
    """
    if by_hand or isinstance(device, ManualMap):
        return ManualDecoder(meter, device)
    if isinstance(device, ModbusMap):
        return ModbusDecoder(meter, device)
    if isinstance(device, Cjt188Map):
        return Cjt188Decoder(meter, device)
    if isinstance(device, Dlt645Map):
        return Dlt645Decoder(meter, device)
    if isinstance(device, MbusMap):
        return MbusDecoder(meter, device)
    if isinstance(device, MqttJsonMap):
        return MqttJsonDecoder(meter, device)
    if isinstance(device, OpcUaMap):
        return OpcUaDecoder(meter, device)
    if isinstance(device, BacnetMap):
        return BacnetDecoder(meter, device)
    raise TypeError(f"no decoder for {type(device).__name__}")
