#!/bin/bash
../build_container.sh preprocess
