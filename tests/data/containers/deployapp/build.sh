#!/bin/bash
../build_container.sh deployapp
