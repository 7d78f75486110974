"""Dated tables and how they apply: conversion factors and tariffs."""
