#!/bin/bash
../build_container.sh traintuned
