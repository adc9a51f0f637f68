#!/bin/bash
../build_container.sh deploymodel
