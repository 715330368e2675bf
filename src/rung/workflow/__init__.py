"""Workflows: programs, tools and values as steps with named inputs and outputs, resumed by step, drawn, climbed and
served."""
