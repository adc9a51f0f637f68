#!/bin/bash
../build_container.sh hypertrain
