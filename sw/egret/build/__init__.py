"""From a network image to a bitstream: board top, synthesis, place and route, reports."""
