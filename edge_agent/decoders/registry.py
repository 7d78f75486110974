"""Which decoder a meter needs, by the protocol of its map."""

from edge_agent.config import MeterConfig
from edge_agent.decoders.base import Decoder
from edge_agent.decoders.modbus import ModbusDecoder
from edge_agent.maps.base import DeviceMap
from edge_agent.maps.modbus import ModbusMap


def make_decoder(meter: MeterConfig, device: DeviceMap) -> Decoder:
    """Return the decoder of one meter. ValueError when its configuration does not fit its map."""
    if isinstance(device, ModbusMap):
        return ModbusDecoder(meter, device)
    raise TypeError(f"no decoder for {type(device).__name__}")
